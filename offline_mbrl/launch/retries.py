"""What is tried again: work that was cut off, as it was; work that had too little memory, in two parts, once."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from offline_mbrl.launch.task import Ended, Task
from offline_mbrl.stopping import ASKING
from offline_mbrl.storage import records
from offline_mbrl.storage.files import write_text
from offline_mbrl.training.job import Job

ASKED_TO_STOP = {128 + number: number for number in ASKING} | {-number: number for number in ASKING}
"""The codes of a worker that was asked to stop, at a safe point or while it was loading, and the signal's number."""

RETRIES = 3
"""Further attempts for work whose process or machine was lost: it goes on from its last checkpoint."""

OUT_OF_MEMORY = "out of memory"
"""How the reason begins that a worker gives when it had too little (`failures`)."""


class Again(NamedTuple):
    """The next attempt: in how many parts, how often the work was cut off by then, and why it is made."""

    parts: int
    lost: int
    reason: str


def next_attempt(task: Task, folders: Sequence[Path], ended: Ended, lost: int) -> Again | None:
    """The next attempt at what has ended; None where it is done, at fault itself, or was tried often enough.

    What fails for good for want of memory is marked as failed, with the reason.
    """
    if _is_out_of_memory(folders, ended):
        if task.parts == 1 and task.lanes > 1:
            return Again(2, lost, "out of memory; again with half the lanes at a time")
        _mark_failed(task, folders)
        return None
    cut_off = ended.is_lost or ended.code in ASKED_TO_STOP
    if cut_off and not ended.cancelled and lost < RETRIES:
        return Again(task.parts, lost + 1, f"{describe(ended)}; again from the last checkpoint")
    return None


def problem_of(job: Job, folder: Path, ended: Ended) -> str | None:
    """What is wrong with a job that is no longer run; None when every seed is sound."""
    if records.job_status(folder) == "failed":
        return f"failed: {(folder / records.FAILED).read_text(errors='replace').strip()}"
    diverged = records.diverged_seeds(folder)
    if diverged:
        return f"{len(diverged)} of {len(job.seeds)} seeds diverged: {', '.join(map(str, sorted(diverged)))}"
    return None if records.job_status(folder) == "finished" else describe(ended)


def describe(ended: Ended) -> str:
    """How an attempt ended that did not end its job, in words."""
    if ended.note:
        return ended.note
    if ended.code is None:
        return "its machine was lost"
    if ended.code in ASKED_TO_STOP:
        return "stopped at a safe point"
    return f"stopped by signal {-ended.code}" if ended.code < 0 else f"ended with code {ended.code} before it was done"


def _is_out_of_memory(folders: Sequence[Path], ended: Ended) -> bool:
    return ended.memory or (ended.code == 2 and any(_reason(folder).startswith(OUT_OF_MEMORY) for folder in folders))


def _reason(folder: Path) -> str:
    with suppress(OSError):
        return (folder / records.FAILED).read_text(errors="replace")
    return ""


def _mark_failed(task: Task, folders: Sequence[Path]) -> None:
    tried = "with half the lanes at a time too" if task.parts > 1 else "with its only lane"
    reason = f"{OUT_OF_MEMORY}: the worker was killed for it, {tried}; give it a machine with more, or fewer seeds"
    for folder in folders:
        if records.job_status(folder) == "unfinished" and task.fit is None:
            with suppress(OSError):  # a full disk: what is printed has the reason
                write_text(folder / records.FAILED, reason + "\n")
