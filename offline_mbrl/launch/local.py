"""Runs jobs on this machine, one fresh process each, so that a job's memory and failures are its own.

One slot runs one job at a time. A slot is a GPU, named before the process imports jax, or an equal share of the cores.
"""

import os
import queue
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from offline_mbrl.errors import UserError
from offline_mbrl.machine import available_cores
from offline_mbrl.storage import records
from offline_mbrl.training.job import Job, Paths, claim

RETRIES = 2
"""Further attempts for a job whose process was killed by a signal: it goes on from its last checkpoint."""


@dataclass(frozen=True)
class Slot:
    """What one job at a time may use: a GPU by its number, or some cores."""

    gpu: str | None = None
    cores: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How one job of a sweep ended."""

    job: Job
    folder: Path
    problem: str | None  # None when every seed is sound
    skipped: bool = False


def make_slots(count: int, gpus: Sequence[str]) -> list[Slot]:
    """One slot for each GPU named; otherwise `count` slots that share the cores evenly."""
    if gpus:
        return [Slot(gpu=gpu) for gpu in gpus]
    if count == 1:
        return [Slot()]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(available_cores()))
    if count > len(cores):
        raise UserError(f"{count} jobs at once need as many cores, and there are {len(cores)}; lower --parallel")
    return [Slot(cores=",".join(map(str, cores[index::count]))) for index in range(count)]


def run_jobs(
    jobs: Iterable[Job], out: Path, paths: Paths, slots: Sequence[Slot], device: str = "auto"
) -> list[Outcome]:
    """Runs every job in `out/<its name>`; finished ones are skipped, half-done ones resumed, failures passed over."""
    console = Console(stderr=True)
    free: queue.Queue[Slot] = queue.Queue()
    for slot in slots:
        free.put(slot)

    def run(job: Job) -> Outcome:
        slot = free.get()
        try:
            return _run(job, out / job.name, paths, slot, device, quiet=len(slots) > 1)
        finally:
            free.put(slot)

    waiting = list(jobs)
    outcomes = []
    with ThreadPoolExecutor(len(slots)) as pool:
        for number, outcome in enumerate(pool.map(run, waiting), 1):
            verb = "was done before" if outcome.skipped else outcome.problem or "done"
            console.print(f"[{number}/{len(waiting)}] {outcome.job.name}: {verb}", highlight=False, markup=False)
            outcomes.append(outcome)
    return outcomes


def _run(job: Job, folder: Path, paths: Paths, slot: Slot, device: str, quiet: bool) -> Outcome:
    try:
        claim(folder, job)
    except UserError as error:
        return Outcome(job, folder, str(error))
    if records.job_status(folder) == "finished":
        return Outcome(job, folder, _problem(job, folder, 0), skipped=True)
    code = -1
    for _ in range(1 + RETRIES):
        code = _start(folder, paths, slot, device, quiet)
        if code >= 0:
            break
    return Outcome(job, folder, _problem(job, folder, code))


def _start(folder: Path, paths: Paths, slot: Slot, device: str, quiet: bool) -> int:
    """One attempt; its output goes to the terminal, or to `log.txt` where several jobs run at once."""
    command = [sys.executable, "-m", "offline_mbrl.launch.worker", str(folder), "--device", device]
    command += ["--cache-dir", str(paths.cache)] if paths.cache else []
    command += ["--data-dir", str(paths.data)] if paths.data else []
    command += ["--cores", slot.cores] if slot.cores else []
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {})
    if not quiet:
        return subprocess.run(command, env=environment, check=False).returncode
    with (folder / "log.txt").open("ab") as log:
        return subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode


def _problem(job: Job, folder: Path, code: int) -> str | None:
    if records.job_status(folder) == "failed":
        return f"failed: {(folder / records.FAILED).read_text().strip()}"
    diverged = records.diverged_seeds(folder)
    if diverged:
        return f"{len(diverged)} of {len(job.seeds)} seeds diverged: {', '.join(map(str, sorted(diverged)))}"
    if records.job_status(folder) != "finished":
        return f"stopped by signal {-code}" if code < 0 else f"ended with code {code} before it was done"
    return None
