"""The slow check on real simulator data: every system trains soundly and beats the policy that acts at random."""

from functools import cache
from pathlib import Path

import pytest

from offline_mbrl.algorithms.registry import own_names
from offline_mbrl.data.source import load
from offline_mbrl.data.summary import summarize
from offline_mbrl.launch.suite import jobs, read_suite
from offline_mbrl.results.query import read_curves
from offline_mbrl.results.statistics import final_score
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Job, Paths
from offline_mbrl.training.run import run_job

JOBS = jobs(read_suite(Path(__file__).parents[2] / "experiments" / "check.toml"))


@cache
def random_score(robot: str) -> float:
    """Mean normalized score of uniformly random actions."""
    score = summarize(load(f"{robot}-random", size=20_000)).score_mean
    assert score is not None
    return score


def test_every_system_is_checked_on_a_hopper_and_a_half_cheetah() -> None:
    checked = sorted((job.algorithm, get_task(job.task).robot.name) for job in JOBS if job.algorithm in own_names())
    assert checked == sorted((name, robot) for name in own_names() for robot in ("hopper", "halfcheetah"))


@pytest.mark.slow
@pytest.mark.parametrize("job", [pytest.param(job, id=f"{job.algorithm}-{job.task}") for job in JOBS])
def test_it_trains_soundly_and_beats_the_random_policy(job: Job, tmp_path: Path) -> None:
    assert run_job(job, tmp_path, Paths()) == []
    score = max(final_score(curve.scores) for curve in read_curves([tmp_path]))  # of its best way of acting
    assert score > random_score(get_task(job.task).robot.name) + 1
