"""What became of Slurm jobs: their results where they left one, else what the queue says.

The queue is read by one `squeue` for all jobs, which needs no accounting database.
"""

import getpass
import pickle
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from offline_mbrl.launch.task import Ended

LOOK_SECONDS = 2.0
GRACE_SECONDS = 20.0
"""How long a job may be gone from the queue before it counts as lost: shared storage shows a result late."""

OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", ""}
"""States in which a job does not run and will not by itself; the empty one is that of a job that squeue forgot."""

HOPELESS = {"PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints"}
"""Reasons for which a job waits that will not go away; they stand in the place of its state."""


@dataclass
class Watched:
    """A job whose end somebody waits for."""

    result: Path
    promise: Future[Ended] = field(default_factory=Future)
    over_since: float | None = None


class Queue:
    """Watches jobs in a thread of its own."""

    def __init__(self) -> None:
        self._jobs: dict[str, Watched] = {}
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def watch(self, job: str, result: Path) -> Future[Ended]:
        """How the job with the number `job` will have ended, which leaves its result in a file."""
        watched = Watched(result)
        with self._lock:
            self._jobs[job] = watched
        return watched.promise

    def cancel_waiting(self) -> None:
        """Takes the jobs that do not run yet out of the queue."""
        with self._lock:
            numbers = sorted({job.partition("_")[0] for job in self._jobs})
        if numbers:
            subprocess.run(["scancel", "--state=PENDING", *numbers], capture_output=True, check=False)

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with self._lock:
                jobs = dict(self._jobs)
            states = queue_states() if jobs else None
            for number, job in jobs.items():
                ended = _look(number, job, states)
                if ended is not None:
                    with self._lock:
                        del self._jobs[number]
                    job.promise.set_result(ended)


def queue_states() -> Mapping[str, str] | None:
    """The state of every job of this user that Slurm remembers, by number; None where Slurm does not answer.

    A number is `12_3` for a member of an array, `12` for an array whose waiting members were all cancelled.
    """
    command = ["squeue", "-h", "-r", "-t", "all", "-u", getpass.getuser(), "-o", "%i|%T|%r"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.split("|", 2) for line in said.splitlines())
    return {number: reason if reason in HOPELESS else state for number, state, reason in lines}


def _look(number: str, job: Watched, states: Mapping[str, str] | None) -> Ended | None:
    """How a job ended; None while it has not, as far as can be told."""
    if job.result.exists():
        return _read(job.result)
    state = states.get(number, states.get(number.partition("_")[0], "")) if states is not None else None
    if state in HOPELESS:
        subprocess.run(["scancel", number], capture_output=True, check=False)
        return Ended(2, note=f"Slurm would let it wait forever ({state}); see --time-limit, --constraint and --slurm")
    if state is None or state not in OVER:
        job.over_since = None
        return None
    if state == "CANCELLED":
        return Ended(None, cancelled=True, note="cancelled in Slurm")
    job.over_since = job.over_since or time.monotonic()
    if time.monotonic() - job.over_since < GRACE_SECONDS:
        return None
    said = f" ({state})" if state else ""
    return Ended(None, memory=state == "OUT_OF_MEMORY", note=f"it left Slurm's queue without a result{said}")


def _read(result: Path) -> Ended:
    with result.open("rb") as file:
        outcome, value = pickle.load(file)
    if outcome == "success":
        return value
    return Ended(70, note=f"a fault in the Slurm job: {str(value).strip().splitlines()[-1]}")
