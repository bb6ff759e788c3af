"""The jobs of one program in a process of their own: `python -m offline_mbrl.launch.worker`, started by the launchers.

What it needs is imported only when it heeds signals and is tied to its launcher, since that takes seconds.
"""

import argparse
import os
import sys
from pathlib import Path

from offline_mbrl.failures import guarded
from offline_mbrl.launch.orphans import end_with
from offline_mbrl.stopping import SAVE_EVERY


def main() -> None:
    """Runs the jobs whose `job.json` a launcher wrote, on the cores it was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--checkpoint-every", type=float, default=SAVE_EVERY, metavar="SECONDS")
    parser.add_argument("--cores", help="comma-separated core numbers")
    parser.add_argument("--launcher", type=int, help="the process whose end ends this one")
    args = parser.parse_args()
    if args.launcher is not None:
        end_with(args.launcher)
    if args.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    sys.exit(guarded(lambda: _work(args.folders, args.data_dir, args.cache_dir, args.device, args.checkpoint_every)))


def _work(folders: list[Path], data_dir: Path | None, cache_dir: Path | None, device: str, save_every: float) -> int:
    from offline_mbrl.data.cache import cache_folder
    from offline_mbrl.launch.work import work
    from offline_mbrl.machine import keep_compiled
    from offline_mbrl.training.job import Paths, read_job

    keep_compiled(cache_folder(cache_dir) / "compiled")  # most jobs of a sweep run another one's program
    return work([(read_job(folder), folder) for folder in folders], Paths(data_dir, cache_dir), device, save_every)


if __name__ == "__main__":
    main()
