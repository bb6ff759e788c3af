"""The jobs of one program in this process: their folders' locks, the run, and what is left there when it fails."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from offline_mbrl.errors import UserError, warn
from offline_mbrl.failures import exit_code, explain
from offline_mbrl.machine import select_device
from offline_mbrl.stopping import SAVE_EVERY
from offline_mbrl.storage import records
from offline_mbrl.storage.files import write_text
from offline_mbrl.storage.lock import InUseError, hold_run
from offline_mbrl.training.divergence import all_diverged, read_divergences
from offline_mbrl.training.job import Job, Paths
from offline_mbrl.training.opening import Started, fit_job
from offline_mbrl.training.run import run_jobs


def work(
    jobs: Sequence[Started], paths: Paths, device: str = "auto", save_every: float = SAVE_EVERY, parts: int = 1
) -> int:
    """Runs jobs of one group in their folders, which it holds as long.

    With several `parts` the lanes are trained one part after the other, for less memory at a time. A failure is written
    to the folder of every job that it ended, in one line, as well as to stderr.

    Returns:
      0 when every seed is sound, 1 when some diverged, now or in an earlier run, 2 when the job failed, 70 when the
      program is at fault.

    Raises:
      InUseError: another process trains in one of the folders.
    """
    try:
        select_device(device)
        with contextlib.ExitStack() as locks:
            for _, out in jobs:
                locks.enter_context(hold_run(out))
            run_jobs(jobs, paths, save_every=save_every, parts=parts)
            return max(_conclude(job, out) for job, out in jobs)
    except InUseError:
        raise
    except Exception as error:
        return _fail([(job, out) for job, out in jobs if records.job_status(out) != "finished"], error)


def fit(jobs: Sequence[Job], name: str, paths: Paths, device: str = "auto", parts: int = 1) -> int:
    """Makes the fit `name` of `jobs` and keeps it in the cache, for all that need it; nothing else of them is done.

    Returns:
      As `work`; the jobs' folders get no mark, since each job can still make the fit itself.
    """
    try:
        select_device(device)
        for job in jobs:
            fit_job(job, name, paths, parts=parts)
    except Exception as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return exit_code(error)
    return 0


def _conclude(job: Job, out: Path) -> int:
    """Names the seeds that diverged, now or before; a job that lost all of them has failed."""
    diverged = read_divergences(out)
    if len(diverged) == len(job.seeds):
        return _fail([(job, out)], all_diverged(diverged))
    for entry in diverged:
        warn(f"{job.algorithm} on {job.task}: {entry}")
    return 1 if diverged else 0


def _fail(jobs: Sequence[Started], error: Exception) -> int:
    owned = [out for job, out in jobs if _owns(job, out)]
    reason = explain(error, owned[0] if owned else None)
    print(f"error: {reason}", file=sys.stderr)
    for out in owned:
        with contextlib.suppress(OSError):  # a full disk may be what failed; stderr has the reason
            write_text(out / records.FAILED, reason + "\n")
    return exit_code(error)


def _owns(job: Job, out: Path) -> bool:
    """Whether the folder is this job's, as far as its files can be read."""
    try:
        return bool(records.read_json(out / records.JOB, missing={}).get("id") == job.id)
    except (UserError, OSError):
        return False
