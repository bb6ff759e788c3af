"""What a job costs: measured where jobs like it are finished, otherwise estimated from what is known of its algorithm.

The estimates are of two CPU cores, as in the README's table; a sweep corrects them by its own first jobs.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from offline_mbrl.data.builtin.recipe import full_size
from offline_mbrl.errors import UserError
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Job
from offline_mbrl.training.lanes import by_data

Rates = Mapping[str, float]
"""Seconds for one gradient step of one seed, by algorithm."""

RateByLanes = Mapping[int, float]
"""Steps a second, over all lanes, by the number of lanes of a program."""

UPDATES: RateByLanes = {1: 8_667.0, 4: 24_022.0, 16: 40_010.0, 32: 47_289.0}
"""Gradient steps of SAC on an accelerator, one H200, which sixteen lanes do not fill."""

UPDATES_PER_SECOND = 250.0
"""Gradient steps of SAC a second on cores, over all seeds."""

UNITS: Mapping[str, float] = {
    "bc": 0.25,
    "td3_bc": 0.8,
    "iql": 0.88,
    "mopo": 1.02,
    "morel": 1.01,
    "rambo": 1.02,
    "atac": 3.2,
    "drop": 3.3,
    "crop": 3.2,
    "armor": 9.6,
    "mobile": 9.7,
    "micro": 12.3,
    "cql": 27.0,
    "combo": 28.9,
    "edac": 55.5,
}
"""One gradient step in units of SAC's, as `benchmarks/throughput.py --relative all` measures it."""

START_SECONDS = 20.0
"""A process from its start to its first step: imports, data, compilation."""

FIT_SECONDS = 1500.0
"""One seed's ensemble on a million rows: some fifty epochs at 130 steps a second."""

FULL_ROWS = 1_000_000

BASE_BYTES = 0.8e9
LANE_BYTES = {False: 0.05e9, True: 0.65e9}
"""Of a lane, by whether it keeps imagined data: from 1.4 GiB with one MOPO seed and 3.3 GiB with four."""

ROW_BYTES = 4 * (2 * 17 + 6 + 3)
"""A transition of the largest task in float32."""


def rate(rates: RateByLanes, lanes: int) -> float:
    """Steps a second, between the measured numbers of lanes by their logarithm and constant outside."""
    known = sorted(rates)
    return float(np.interp(math.log(lanes), [math.log(one) for one in known], [rates[one] for one in known]))


def planned_cost(jobs: Sequence[Job]) -> float:
    """Seconds to train `jobs` in one program of an accelerator, by its lanes: nothing that a sweep measures enters."""
    lanes = sum(len(job.seeds) for job in jobs)
    steps = train_cost(jobs, {}) - START_SECONDS
    return START_SECONDS + steps * UPDATES_PER_SECOND / rate(UPDATES, lanes)


def train_cost(jobs: Iterable[Job], rates: Rates) -> float:
    """Seconds to train `jobs` in one program."""
    return START_SECONDS + sum(_step_cost(job, rates) * job.steps * len(job.seeds) for job in jobs)


def fit_cost(job: Job) -> float:
    """Seconds to fit what the seeds of `job` need."""
    return START_SECONDS + FIT_SECONDS * len(job.seeds) * _rows(job) / FULL_ROWS


def memory(jobs: Iterable[Job], fits: bool) -> int:
    """Bytes that one program for all lanes of `jobs` holds at most; `fits` says whether it imagines with a model."""
    sources = by_data(jobs)
    rows = sum(_rows(same[0]) for same in sources)
    lanes = sum(len(job.seeds) * min(1.0, _rows(job) / FULL_ROWS) for same in sources for job in same)
    return round(BASE_BYTES + rows * ROW_BYTES + lanes * LANE_BYTES[fits])


def measured_rates(folders: Sequence[Path]) -> dict[str, float]:
    """The median of finished jobs' seconds for one step of one seed, by algorithm."""
    found: dict[str, list[float]] = {}
    for folder in folders:
        with suppress(OSError, UserError, KeyError):
            job, seconds = records.read_json(folder / records.JOB), measured_seconds(folder)
            if seconds is not None:
                found.setdefault(job["algorithm"], []).append(seconds / (job["steps"] * len(job["seeds"])))
    return {algorithm: median(rates) for algorithm, rates in found.items()}


def measured_seconds(folder: Path) -> float | None:
    """What the finished job in `folder` took: by its record where that says so, else from its first file to its last.

    The second counts a pause of a job that was stopped; None where the job is not done.
    """
    if records.job_status(folder) != "finished":
        return None
    said = records.read_json(folder / records.ENVIRONMENT, missing={}).get("seconds")
    if said:
        return float(sum(said.values()))
    began, ended = (os.stat(folder / name).st_mtime for name in (records.ENVIRONMENT, records.DONE))
    return max(ended - began, 0.0)


def _rows(job: Job) -> int:
    """Rows of the data set; D4RL's number where the job does not say."""
    return job.size or full_size(get_task(job.task))


def _step_cost(job: Job, rates: Rates) -> float:
    return rates.get(job.algorithm, UNITS.get(job.algorithm, 1.0) / UPDATES_PER_SECOND)
