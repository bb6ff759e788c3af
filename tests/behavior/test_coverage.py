"""Distances from the data on points that are placed by hand, and a whole run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_mbrl.behavior import coverage as coverage_module
from offline_mbrl.behavior.coverage import (
    FILE,
    Neighbors,
    Plan,
    Recording,
    cover_run,
    principal_directions,
    summary,
)
from offline_mbrl.behavior.coverage_table import coverage_table
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import get_robot, get_task
from offline_mbrl.training.job import Paths, make_job
from offline_mbrl.training.run import run_job


def test_the_datas_own_pairs_are_at_distance_0() -> None:
    data = synthetic(get_task("hopper-medium"), 400)
    neighbors = Neighbors(data.observations, data.actions)
    np.testing.assert_allclose(neighbors.distance(data.observations, data.actions), 0.0, atol=1e-7)
    assert neighbors.distance(data.observations, data.actions, rank=2).min() > 0


def test_distances_are_in_deviations_of_the_data() -> None:
    obs, action = np.array([[0.0], [2.0]]), np.array([[0.0], [20.0]])  # deviations 1 and 10
    neighbors = Neighbors(obs, action)
    np.testing.assert_allclose(neighbors.distance(np.array([[0.0]]), np.array([[5.0]])), [0.5 / 2**0.5])
    np.testing.assert_allclose(neighbors.distance(obs, action, rank=2), [2.0, 2.0])  # sqrt((2^2 + 2^2) / 2)


def test_what_lies_beyond_is_outside() -> None:
    found = summary(np.array([0.0, 1.0, 2.0, 3.0]), near=1.5)
    assert (found["outside"], found["mean"], found["quantiles"]["0.5"]) == (0.5, 1.5, 1.5)


def test_principal_directions_are_those_of_most_variance() -> None:
    generator = np.random.default_rng(0)
    common = generator.normal(size=1000)
    rows = np.stack([common, common + 0.01 * generator.normal(size=1000), generator.normal(size=1000)], axis=1)
    first = principal_directions(rows).axes[:, 0]
    np.testing.assert_allclose(np.abs(first), (0.5**0.5, 0.5**0.5, 0.0), atol=0.1)


def test_a_recording_keeps_what_live_rows_did() -> None:
    judge = Recording(Simulator(get_robot("hopper"), 2))
    start = judge.reset([1, 2])
    after = judge.step(np.zeros((2, 3)), np.array([True, False])).obs
    judge.step(np.ones((2, 3)))
    (first, _, live), (second, action, _) = judge.steps
    np.testing.assert_array_equal(first, start)
    np.testing.assert_array_equal(live, (True, False))
    np.testing.assert_array_equal(second, after)
    np.testing.assert_array_equal(action, np.ones((2, 3)))


@pytest.mark.medium
def test_a_runs_policies_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {
        "source": "synthetic",
        "size": 300,
        "evaluate_every": 10,
        "episodes": 1,
        "seeds": (0, 1),
    }
    job = make_job("bc", "hopper-medium", steps=10, overrides={"hidden": (8,), "batch_size": 16}, **settings)
    run, paths = tmp_path / "run", Paths(cache=tmp_path)
    run_job(job, run, paths)
    found = cover_run(run, Plan(rows=50, episodes=2), paths)
    assert (run / "coverage.png").is_file()
    assert [one["seed"] for one in found["seeds"]] == [0, 1]
    assert found["data"]["outside"] <= 0.06
    assert coverage_table(found)[1][-1][0] == "seed 1 in its own states"
    monkeypatch.setattr(coverage_module, "visit", None)
    again = cover_run(run, Plan(rows=50, episodes=2), paths)
    assert coverage_table(again) == coverage_table(found)
    assert (run / FILE).is_file()
