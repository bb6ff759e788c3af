"""Runs jobs on this machine, one fresh process for each program, so that its memory and failures are its own.

One slot runs one program at a time. A slot is a GPU, named before the process imports jax, or an equal share of the
cores.
"""

import os
import queue
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from offline_mbrl.errors import UserError
from offline_mbrl.failures import explain
from offline_mbrl.machine import available_cores
from offline_mbrl.stopping import (
    ASKING,
    GENTLE,
    SAVE_EVERY,
    at_safe_points,
    heed_signals,
    request_stop,
    stop_here,
    stop_requested,
)
from offline_mbrl.storage import records
from offline_mbrl.storage.lock import hold_run
from offline_mbrl.training.job import Job, Paths, claim
from offline_mbrl.training.lanes import group

NOT_STARTED = "not started"
ASKED_TO_STOP = {128 + number: number for number in ASKING} | {-number: number for number in ASKING}
"""The codes of a worker that was asked to stop, at a safe point or while it was loading, and the signal's number."""

PASS_ON_SECONDS = 0.2
"""How long a request to stop may lie before a worker hears of it."""

RETRIES = 2
"""Further attempts for a job whose process was killed by a signal: it goes on from its last checkpoint."""


@dataclass(frozen=True)
class Slot:
    """What one job at a time may use: a GPU by its number, or some cores."""

    gpu: str | None = None
    cores: str | None = None


@dataclass(frozen=True)
class Options:
    """How jobs are run; nothing of it moves a number but the device and, by rounding, the lanes."""

    device: str = "auto"
    save_every: float = SAVE_EVERY  # seconds between checkpoints
    lanes: bool = True  # jobs that differ in seeds and numbers alone train in one program


DEFAULT = Options()


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
        _refuse_twins(f"GPU {gpu}" for gpu in gpus)
        return [Slot(gpu=gpu) for gpu in gpus]
    if count == 1:
        return [Slot()]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(available_cores()))
    if count > len(cores):
        raise UserError(f"{count} jobs at once need as many cores, and there are {len(cores)}; lower --parallel")
    return [Slot(cores=",".join(map(str, cores[index::count]))) for index in range(count)]


def run_jobs(
    jobs: Iterable[Job], out: Path, paths: Paths, slots: Sequence[Slot], options: Options = DEFAULT
) -> list[Outcome]:
    """Runs every job in `out/<its name>`; finished ones are skipped, half-done ones resumed, failures passed over.

    Raises:
      UserError: a job is there twice.
      Stopped: a signal asked this process, or one of its workers, to stop; every worker was left at a safe point.
    """
    waiting = list(jobs)
    _refuse_twins(f"job {job.name}" for job in waiting)
    groups = group(waiting) if options.lanes else [[job] for job in waiting]
    console = Console(stderr=True)
    free: queue.Queue[Slot] = queue.Queue()
    for slot in slots:
        free.put(slot)

    def run(jobs: list[Job]) -> list[Outcome]:
        slot = free.get()
        try:
            return _run(jobs, out, paths, slot, options, quiet=len(slots) > 1)
        finally:
            free.put(slot)

    outcomes: list[Outcome] = []
    with heed_signals():
        with at_safe_points(), ThreadPoolExecutor(len(slots)) as pool, _stop_when_failing():
            for ended in pool.map(run, groups):
                for outcome in ended:
                    outcomes.append(outcome)
                    verb = "was done before" if outcome.skipped else outcome.problem or "done"
                    line = f"[{len(outcomes)}/{len(waiting)}] {outcome.job.name}: {verb}"
                    console.print(line, highlight=False, markup=False)
        stop_here()
    return outcomes


def _refuse_twins(names: Iterable[str]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise UserError(f"{twins[0]} is named twice; leave one of the two out")


@contextmanager
def _stop_when_failing() -> Iterator[None]:
    """An error between jobs (a closed terminal) stops the workers, for which the pool would wait otherwise."""
    try:
        yield
    except BaseException:
        request_stop(signal.SIGTERM)
        raise


def _run(jobs: Sequence[Job], out: Path, paths: Paths, slot: Slot, options: Options, quiet: bool) -> list[Outcome]:
    """The jobs of one group: those that are not done, in one worker."""
    claimed = [(job, out / job.name, _claim(job, out / job.name)) for job in jobs]
    folders = [folder for _, folder, outcome in claimed if outcome is None]
    try:
        code = _attempt(folders, paths, slot, options, quiet) if folders else 0
    except Exception as error:
        return [outcome or Outcome(job, folder, explain(error)) for job, folder, outcome in claimed]
    return [outcome or Outcome(job, folder, _problem(job, folder, code)) for job, folder, outcome in claimed]


def _claim(job: Job, folder: Path) -> Outcome | None:
    """What there is to say of a job before it is run; None where it is to be run."""
    if stop_requested():
        return Outcome(job, folder, NOT_STARTED)
    try:
        with hold_run(folder):
            claim(folder, job)
        if records.job_status(folder) == "finished":
            return Outcome(job, folder, _problem(job, folder, 0), skipped=True)
    except Exception as error:
        return Outcome(job, folder, explain(error))
    return None


def _attempt(folders: Sequence[Path], paths: Paths, slot: Slot, options: Options, quiet: bool) -> int:
    """The code of the worker, started again where it was killed; one that was asked to stop stops the sweep."""
    for _ in range(1 + RETRIES):
        code = _start(folders, paths, slot, options, quiet)
        if code in ASKED_TO_STOP:
            request_stop(ASKED_TO_STOP[code])
        if code >= 0 or stop_requested():
            break
    return code


def _start(folders: Sequence[Path], paths: Paths, slot: Slot, options: Options, quiet: bool) -> int:
    """One attempt; its output goes to the terminal, or to the first folder's `log.txt` where several run at once."""
    command = [sys.executable, "-m", "offline_mbrl.launch.worker", *map(str, folders), "--device", options.device]
    command += ["--checkpoint-every", str(options.save_every)]
    command += ["--launcher", str(os.getpid())]
    command += ["--cache-dir", str(paths.cache)] if paths.cache else []
    command += ["--data-dir", str(paths.data)] if paths.data else []
    command += ["--cores", slot.cores] if slot.cores else []
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {})
    with ExitStack() as stack:
        log = stack.enter_context((folders[0] / "log.txt").open("ab")) if quiet else None
        # The other end of its stdin is held here, so that the worker sees our end where the system does not tell it.
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log)
        return _wait(stack.enter_context(process))


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The code of a worker, to which a request to stop is passed on.

    It is passed on gently: the worker may have had the signal already, as Ctrl-C goes to all processes of a terminal.
    """
    announced = False
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=PASS_ON_SECONDS)
        if stop_requested() and not announced:
            process.send_signal(GENTLE)
            announced = True


def _problem(job: Job, folder: Path, code: int) -> str | None:
    if records.job_status(folder) == "failed":
        return f"failed: {(folder / records.FAILED).read_text(errors='replace').strip()}"
    diverged = records.diverged_seeds(folder)
    if diverged:
        return f"{len(diverged)} of {len(job.seeds)} seeds diverged: {', '.join(map(str, sorted(diverged)))}"
    if code in ASKED_TO_STOP:
        return "stopped at a safe point"
    if records.job_status(folder) != "finished":
        return f"stopped by signal {-code}" if code < 0 else f"ended with code {code} before it was done"
    return None
