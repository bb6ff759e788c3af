"""One job in this process: the folder's lock, the run, and what is left there when it fails."""

import contextlib
import sys
from pathlib import Path

from offline_mbrl.errors import UserError, warn
from offline_mbrl.failures import exit_code, explain
from offline_mbrl.machine import select_device
from offline_mbrl.storage import records
from offline_mbrl.storage.files import write_text
from offline_mbrl.storage.lock import InUseError, hold_run
from offline_mbrl.training.divergence import Divergence
from offline_mbrl.training.job import Job, Paths
from offline_mbrl.training.run import run_job


def work(job: Job, out: Path, paths: Paths, device: str = "auto") -> int:
    """Runs `job` in `out`, which it holds as long; a failure is written there, in one line, as well as to stderr.

    Returns:
      0 when every seed is sound, 1 when some diverged, now or in an earlier run, 2 when the job failed, 70 when the
      program is at fault.

    Raises:
      InUseError: another process trains in `out`.
    """
    try:
        select_device(device)
        with hold_run(out):
            run_job(job, out, paths)
            diverged = [Divergence(**entry) for entry in records.read_json(out / records.DIVERGED, missing=[])]
    except InUseError:
        raise
    except Exception as error:
        return _fail(job, out, error)
    for entry in diverged:
        warn(f"{job.algorithm} on {job.task}: {entry}")
    return 1 if diverged else 0


def _fail(job: Job, out: Path, error: Exception) -> int:
    owned = _owns(job, out)
    reason = explain(error, out if owned else None)
    print(f"error: {reason}", file=sys.stderr)
    if owned:
        with contextlib.suppress(OSError):  # a full disk may be what failed; stderr has the reason
            write_text(out / records.FAILED, reason + "\n")
    return exit_code(error)


def _owns(job: Job, out: Path) -> bool:
    """Whether the folder is this job's, as far as its files can be read."""
    try:
        return bool(records.read_json(out / records.JOB, missing={}).get("id") == job.id)
    except (UserError, OSError):
        return False
