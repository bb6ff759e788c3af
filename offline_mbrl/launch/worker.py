"""One job in a process of its own: `python -m offline_mbrl.launch.worker`, started by the launchers."""

import argparse
import contextlib
import os
import sys
import traceback
from pathlib import Path

from offline_mbrl.data.cache import cache_folder
from offline_mbrl.errors import UserError
from offline_mbrl.machine import keep_compiled, select_device
from offline_mbrl.storage import records
from offline_mbrl.storage.files import write_text
from offline_mbrl.training.job import Job, Paths
from offline_mbrl.training.run import run_job


def work(job: Job, out: Path, paths: Paths, device: str = "auto") -> int:
    """Runs `job` in `out`; a failure is written there, in one line, as well as to stderr.

    Returns:
      0 when every seed is sound, 1 when some diverged, 2 when the job failed.
    """
    try:
        select_device(device)
        diverged = run_job(job, out, paths)
    except UserError as error:
        return _fail(job, out, str(error))
    except Exception as error:
        traceback.print_exc()
        return _fail(job, out, _one_line(error))
    for entry in diverged:
        print(f"warning: {job.algorithm} on {job.task}: {entry}", file=sys.stderr)
    return 1 if diverged else 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = error.filename or "while writing"
        return f"{error.strerror.lower()}: {where}; make room there, then run the same command again"
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _fail(job: Job, out: Path, reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    owner = records.read_json(out / records.JOB, missing={}) if out.is_dir() else {}
    if owner.get("id") == job.id:
        with contextlib.suppress(OSError):  # a full disk may be what failed; stderr has the reason
            write_text(out / records.FAILED, reason + "\n")
    return 2


def main() -> None:
    """Runs the job whose `job.json` a launcher wrote, on the cores it was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cores", help="comma-separated core numbers")
    args = parser.parse_args()
    if args.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    keep_compiled(cache_folder(args.cache_dir) / "compiled")  # most jobs of a sweep run another one's program
    fields = records.read_json(args.out / records.JOB)
    job = Job.model_validate({name: value for name, value in fields.items() if name != "id"})
    sys.exit(work(job, args.out, Paths(args.data_dir, args.cache_dir), args.device))


if __name__ == "__main__":
    main()
