"""Small runs of behavior cloning on closed-form data, and what they leave."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offline_mbrl.storage import records
from offline_mbrl.training.job import Job, Paths, make_job
from offline_mbrl.training.run import run_job

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
COMMAND = [sys.executable, "-c", "from offline_mbrl.cli.entry import main; main()"]
PERIOD = 10


def job(seed: int = 0, **changes: object) -> Job:
    """A job that takes a second of training."""
    overrides = {"hidden": (8, 8), "batch_size": 16}
    settings: dict[str, Any] = {"source": "synthetic", "size": 300, "evaluate_every": PERIOD, "episodes": 1}
    settings |= {"steps": 20, "seeds": (seed,)} | changes
    return make_job("bc", "hopper-medium", overrides=overrides, **settings)


def suite(folder: Path, jobs: int, steps: int) -> Path:
    """A file that describes `jobs` jobs as `job` makes them, of seeds 0, 1, ..."""
    path = folder / "suite.toml"
    path.write_text(
        f'tasks = ["hopper-medium"]\nsource = "synthetic"\nsize = 300\nsteps = {steps}\nevaluate_every = {PERIOD}\n'
        f"episodes = 1\nseeds = {jobs}\nseeds_per_job = 1\n"
        '[[run]]\nalgorithm = "bc"\nset = { hidden = [8, 8], batch_size = 16 }\n'
    )
    return path


def undisturbed(jobs: Sequence[Job], folder: Path) -> list[dict[str, str]]:
    """What `jobs` find when nothing stops them."""
    outs = [folder / one.name for one in jobs]
    for one, out in zip(jobs, outs, strict=True):
        run_job(one, out, Paths(cache=folder / "cache"))
    return [results(out) for out in outs]


def results(folder: Path) -> dict[str, str]:
    """What a run found, to be compared with another: its scores and metrics."""
    files = (folder / records.SCORES, folder / records.METRICS)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
