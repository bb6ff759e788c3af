"""The slow check on real simulator data: every system of `experiments/anchors.toml` on a hopper and a half cheetah."""

from functools import cache
from pathlib import Path

import pytest

from offline_mbrl.data.source import load
from offline_mbrl.data.summary import summarize
from offline_mbrl.launch.suite import jobs, read_suite
from offline_mbrl.results.query import read_curves
from offline_mbrl.results.statistics import final_score
from offline_mbrl.training.job import Job, Places
from offline_mbrl.training.run import run_job

pytestmark = pytest.mark.slow

ANCHORS = jobs(read_suite(Path(__file__).parents[2] / "experiments" / "anchors.toml"))
CHECKED = [job for job in ANCHORS if job.task in ("hopper-medium-replay", "halfcheetah-medium-replay")]
CLONES = [job for job in ANCHORS if job.algorithm == "bc" and job.task.endswith("-medium")]


def named(made: list[Job]) -> list[object]:
    return [pytest.param(job, id=f"{job.algorithm}-{job.task}") for job in made]


@cache
def data_score(task: str) -> float:
    """Mean normalized score of the builtin data."""
    mean = summarize(load(task, size=ANCHORS[0].size)).score_mean
    assert mean is not None
    return mean


def scores(job: Job, out: Path) -> list[float]:
    """Every seed's reported score, of its best way of acting where it has several; none may have diverged."""
    assert run_job(job, out, Places()) == []
    curves = read_curves([out])
    assert {curve.status for curve in curves} == {"finished"}
    return [max(final_score(c.scores) for c in curves if c.seed == seed) for seed in job.seeds]


@pytest.mark.parametrize("job", named(CHECKED))
def test_every_system_trains_soundly_and_beats_the_random_policy(job: Job, tmp_path: Path) -> None:
    random = data_score(f"{job.task.partition('-')[0]}-random")
    assert sum(scores(job, tmp_path)) / len(job.seeds) > random + 0.5


@pytest.mark.parametrize("job", named(CLONES))
def test_a_clone_of_medium_data_scores_within_ten_points_of_their_policy(job: Job, tmp_path: Path) -> None:
    assert sum(scores(job, tmp_path)) / len(job.seeds) == pytest.approx(data_score(job.task), abs=10)
