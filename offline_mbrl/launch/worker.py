"""The jobs of one program in a process of their own: `python -m offline_mbrl.launch.worker`, started by the launchers.

What it needs is imported only when it heeds signals and is tied to its launcher, since that takes seconds.
"""

import argparse
import os
import signal
from pathlib import Path

from offline_mbrl.failures import guarded, leave
from offline_mbrl.launch.orphans import end_with
from offline_mbrl.stopping import SAVE_EVERY


def main() -> None:
    """Runs the jobs whose `job.json` a launcher wrote, on the cores it was given."""
    if hasattr(signal, "SIGUSR2"):  # batch systems send it to all processes of a job; its launcher heeds it
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--checkpoint-every", type=float, default=SAVE_EVERY, metavar="SECONDS")
    parser.add_argument("--cores", help="comma-separated core numbers")
    parser.add_argument("--parts", type=int, default=1, help="parts of the lanes, trained one after the other")
    parser.add_argument("--fit", metavar="NAME", help="only fit this, which other jobs need too")
    parser.add_argument("--launcher", type=int, help="the process whose end ends this one")
    args = parser.parse_args()
    if args.launcher is not None:
        end_with(args.launcher)
    if args.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    leave(guarded(lambda: _work(args)))


def _work(args: argparse.Namespace) -> int:
    from offline_mbrl.data.cache import cache_folder
    from offline_mbrl.launch.work import fit, work
    from offline_mbrl.machine import keep_compiled
    from offline_mbrl.training.job import Paths, read_job

    keep_compiled(cache_folder(args.cache_dir) / "compiled")  # most jobs of a sweep run another one's program
    jobs, paths = [(read_job(folder), folder) for folder in args.folders], Paths(args.data_dir, args.cache_dir)
    if args.fit:
        return fit([job for job, _ in jobs], args.fit, paths, args.device, args.parts)
    return work(jobs, paths, args.device, args.checkpoint_every, args.parts)


if __name__ == "__main__":
    main()
