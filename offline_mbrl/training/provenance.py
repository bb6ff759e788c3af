"""What a run was made with: versions, device, precision, code and data; written beside every result."""

import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.summary import summarize
from offline_mbrl.machine import versions
from offline_mbrl.storage.records import ENVIRONMENT, read_json, write_json
from offline_mbrl.training.timing import Stopwatch, peak_memory


def describe(precision: str, dataset: Dataset) -> dict[str, Any]:
    """The record `environment.json` of a job."""
    device = jax.devices()[0]
    return {
        "command": shlex.join(sys.argv),
        "host": socket.gethostname(),
        "start": _now(),
        "versions": versions(),
        "device": device.device_kind
        if device.platform != "cpu"
        else f"{platform.processor() or platform.machine()} CPU",
        "platform": device.platform,
        "cores": os.cpu_count(),
        "gpu": nvidia_gpus() if device.platform == "gpu" else [],
        "precision": precision,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git_commit": git_commit(),
        "dataset": describe_dataset(dataset),
    }


@contextmanager
def costs_noted(note: Callable[[], None]) -> Iterator[None]:
    """Notes what the block took, however it ends."""
    try:
        yield
    finally:
        note()


def note_costs(jobs: Sequence[tuple[Path, int]], watch: Stopwatch) -> None:
    """Adds what was done since it was noted last to the records of a program's jobs, given by folder and lanes."""
    seconds, of = watch.take(), sum(lanes for _, lanes in jobs)
    for out, lanes in jobs:
        note_cost(out, seconds, lanes, of)


def note_cost(out: Path, seconds: Mapping[str, float], lanes: int, of: int) -> None:
    """Adds to a job's record what it took since it was noted last, by part, and when that was.

    Args:
      out: the job's folder.
      seconds: of the whole program.
      lanes: the job's own lanes, whose share of the program it has.
      of: the lanes of the program.
    """
    environment = read_json(out / ENVIRONMENT)
    taken = environment.get("seconds", {})
    for part, more in seconds.items():
        taken[part] = round(taken.get(part, 0.0) + more * lanes / of, 3)
    peak = max(environment.get("peak_memory_bytes", 0), peak_memory() or 0)
    cost = {"end": _now(), "seconds": taken, "peak_memory_bytes": peak, "lanes": {"own": lanes, "of": of}}
    write_json(out / ENVIRONMENT, environment | cost)


def nvidia_gpus() -> list[dict[str, str]]:
    """Name, driver and memory of the machine's NVIDIA GPUs as its driver tells them; none where it does not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    names = ("name", "driver_version", "memory.total")
    command = [program, f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [dict(zip(names, map(str.strip, line.split(",")), strict=False)) for line in said.splitlines()]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Name, origin, content and level of a data set; scores are over its complete episodes."""
    facts = summarize(dataset)
    return {
        "name": dataset.name,
        "source": dataset.source,
        "physics": dataset.physics,
        "fingerprint": dataset.fingerprint,
        "rows": facts.rows,
        "episodes": facts.episodes,
        "score_mean": facts.score_mean,
        "score_std": facts.score_std,
    }


def git_commit() -> str | None:
    """The commit of the source tree, with "+" when it has uncommitted changes; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=12",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
