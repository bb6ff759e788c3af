"""A robot's tasks are lanes of one program: their data lie end to end, and a lane draws from its own rows."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import sample_indices, sample_rows
from offline_mbrl.conformance.small import OWN
from offline_mbrl.storage import records
from offline_mbrl.training import lanes
from offline_mbrl.training import run as run_module
from offline_mbrl.training.job import Job, Paths, make_job
from offline_mbrl.training.opening import open_run
from offline_mbrl.training.run import run_job, run_jobs
from offline_mbrl.types import Interval
from tests.algorithms import toys
from tests.training.tiny import TINY_BC, TINY_MOPO

SMALL: dict[str, dict[str, Any]] = {
    "td3_bc": dict(TINY_BC),
    "iql": dict(TINY_BC),
    "drop": TINY_BC | OWN["drop"],
    "mopo": TINY_MOPO | {"horizon": 2},
}


def make(algorithm: str, task: str, seeds: tuple[int, ...] = (0, 1), size: int | None = 300, **changes: Any) -> Job:
    settings: dict[str, Any] = {"source": "synthetic", "evaluate_every": 20, "episodes": 1, "steps": 40}
    settings |= {name: changes.pop(name) for name in ("source", "physics", "steps") if name in changes}
    overrides = SMALL.get(algorithm, {}) | changes
    return make_job(algorithm, task, seeds=seeds, size=size, overrides=overrides, **settings)


def sizes(*jobs: Job) -> list[int]:
    return [len(members) for members in lanes.group(jobs)]


def test_a_robots_tasks_share_a_program_with_penalties_and_data_of_their_own() -> None:
    mopo = [make("mopo", "hopper-medium", penalty_weight=1.0), make("mopo", "hopper-medium-expert", penalty_weight=5.0)]
    assert sizes(*mopo, make("mopo", "hopper-random", size=200), make("mopo", "walker2d-medium")) == [3, 1]
    assert sizes(mopo[0], make("mopo", "hopper-medium-expert", horizon=3)) == [1, 1]
    assert sizes(mopo[0], make("mopo", "hopper-medium-expert", steps=60)) == [1, 1]
    assert sizes(mopo[0], make("mopo", "hopper-medium-expert", physics="gymnasium-v4")) == [1, 1]
    assert sizes(mopo[0], make("mopo", "hopper-medium", source="builtin")) == [2]
    names = [[job.task for job in same] for same in lanes.by_data([*mopo, make("mopo", "hopper-medium", (7,))])]
    assert names == [["hopper-medium", "hopper-medium"], ["hopper-medium-expert"]]


@pytest.mark.parametrize("algorithm", ["bc", "crop"])
def test_systems_that_keep_something_of_every_row_train_one_task_a_program(algorithm: str) -> None:
    assert sizes(*(make_job(algorithm, task) for task in ("hopper-medium", "hopper-medium-expert"))) == [1, 1]


@pytest.mark.medium
def test_draws_of_an_interval_are_those_of_the_rows_alone() -> None:
    rows = toys.data_of(toys.random_rows(50, 2, 1))
    alone = jax.tree.map(lambda leaf: leaf[20:37], rows)
    own = rows._replace(own=Interval(jnp.array(20), jnp.array(17)))
    drawn = np.asarray(sample_indices(alone, toys.KEY, 400))
    assert set(drawn.tolist()) == set(range(17))
    np.testing.assert_array_equal(sample_indices(own, toys.KEY, 400), drawn + 20)
    jax.tree.map(np.testing.assert_array_equal, sample_rows(own, toys.KEY, 9), sample_rows(alone, toys.KEY, 9))


def lines(folder: Path) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    return records.read_records(folder / records.METRICS), records.read_records(folder / records.SCORES)


@pytest.mark.medium
@pytest.mark.parametrize("algorithm", SMALL)
def test_a_lane_equals_its_task_trained_alone(algorithm: str, tmp_path: Path) -> None:
    """To rounding; data sets of other sizes, and jobs of other numbers of seeds, in an order that mixes the tasks."""
    paths = Paths(cache=tmp_path / "cache")
    jobs = [
        make(algorithm, "hopper-medium", (0,), 200),
        make(algorithm, "hopper-medium-expert", (0, 3), 310, discount=0.9),
        make(algorithm, "hopper-medium", (2,), 200, discount=0.95),
    ]
    together = [(job, tmp_path / f"lane{number}") for number, job in enumerate(jobs)]
    assert len(lanes.group(jobs)) == 1
    assert run_jobs(together, paths) == [[], [], []]
    for job, folder in together[1:]:
        alone = tmp_path / f"alone-{folder.name}"
        run_job(job, alone, paths)
        (ours, scores), (theirs, expected) = lines(folder), lines(alone)
        assert [(line["seed"], line["step"]) for line in scores] == [(line["seed"], line["step"]) for line in expected]
        for one, other in zip(ours, theirs, strict=True):
            assert one.keys() == other.keys()
            for name, value in other.items():
                assert one[name] == pytest.approx(value, rel=2e-3, abs=1e-4), name
        environment, own = (records.read_json(out / records.ENVIRONMENT) for out in (folder, alone))
        assert environment["dataset"] == own["dataset"]
        assert environment["lanes"] == {"own": len(job.seeds), "of": 4}
        opened = open_run(job, folder, paths)
        assert {leaf.shape[0] for leaf in jax.tree.leaves(opened.state)} == {len(job.seeds)}


@pytest.mark.medium
def test_a_program_of_two_tasks_that_is_killed_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(cache=tmp_path / "cache")
    jobs = [make("mopo", "hopper-medium", (0,), 200, steps=60), make("mopo", "hopper-random", (1,), steps=60)]
    run_jobs([(job, tmp_path / "whole" / job.name) for job in jobs], paths)
    killed = [(job, tmp_path / "killed" / job.name) for job in jobs]
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_conclude", _killed)
        with pytest.raises(KeyboardInterrupt):
            run_jobs(killed, paths, save_every=0)
    assert [records.job_status(folder) for _, folder in killed] == ["unfinished"] * 2
    run_jobs(killed, paths)
    for job, folder in killed:
        for name in (records.SCORES, records.METRICS):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / job.name / name).read_bytes()


def _killed(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.medium
def test_two_tasks_in_parts_give_the_numbers_of_a_whole_program(tmp_path: Path) -> None:
    paths = Paths(cache=tmp_path / "cache")
    jobs = [make("td3_bc", "hopper-medium", (0, 1), 200), make("td3_bc", "hopper-medium-expert", (0,), discount=0.9)]
    found = []
    for parts in (1, 2):
        folders = [(job, tmp_path / str(parts) / job.name) for job in jobs]
        run_jobs(folders, paths, parts=parts)
        found.append([sorted(line.items()) for _, folder in folders for line in lines(folder)[0]])
    for ours, theirs in zip(*found, strict=True):
        assert [name for name, _ in ours] == [name for name, _ in theirs]
        np.testing.assert_allclose([value for _, value in ours], [value for _, value in theirs], rtol=2e-3, atol=1e-4)
