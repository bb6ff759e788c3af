"""Behavior cloning on real simulator data: the end-to-end check with a known answer."""

from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.data.builtin.behaviors import load_behaviors
from offline_mbrl.results.query import read_curves
from offline_mbrl.results.statistics import final_score
from offline_mbrl.tasks import ROBOTS
from offline_mbrl.training.job import Paths, make_job
from offline_mbrl.training.run import run_job


@pytest.mark.slow
@pytest.mark.parametrize("robot", list(ROBOTS))
def test_a_clone_of_medium_data_scores_within_ten_points_of_their_policy(robot: str, tmp_path: Path) -> None:
    job = make_job("bc", f"{robot}-medium", size=200_000, seeds=(0, 1), steps=100_000, evaluate_every=10_000)
    assert run_job(job, tmp_path, Paths()) == []
    score = np.mean([final_score(curve.scores) for curve in read_curves([tmp_path])])
    policy = np.mean(ROBOTS[robot].normalized_score(load_behaviors(ROBOTS[robot]).medium_returns))
    assert score == pytest.approx(policy, abs=10)
