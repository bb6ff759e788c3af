"""Jobs that differ in seeds and numbers alone are lanes of one program, each with its own folder and records."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.config import number_fields, with_numbers
from offline_mbrl.storage import records
from offline_mbrl.training import lanes
from offline_mbrl.training import run as run_module
from offline_mbrl.training.job import Job, Paths, make_job
from offline_mbrl.training.opening import open_run
from offline_mbrl.training.run import run_job, run_jobs
from tests.training.tiny import TINY_MOPO


def make(seeds: tuple[int, ...] = (0, 1), steps: int = 40, **changes: Any) -> Job:
    settings: dict[str, Any] = {"source": "synthetic", "size": 500, "evaluate_every": 20, "episodes": 1, "seeds": seeds}
    return make_job("mopo", "hopper-medium", steps=steps, overrides=TINY_MOPO | changes, **settings)


def test_numbers_are_what_shapes_nothing() -> None:
    free = number_fields(get_definition("mopo").config)
    assert {"penalty_weight", "actor_lr", "tau", "discount", "temperature_max", "target_entropy"} <= free
    assert not {"hidden", "batch_size", "horizon", "real_ratio", "critics", "penalty", "dynamics"} & free
    config = get_definition("mopo").config()
    assert getattr(with_numbers(config, {"penalty_weight": 3.0}), "penalty_weight") == 3.0  # noqa: B009
    with pytest.raises(ValueError, match="horizon cannot differ"):
        with_numbers(config, {"horizon": 2})


def test_jobs_share_a_program_where_only_seeds_and_numbers_differ() -> None:
    jobs = [make(), make(penalty_weight=2.0), make((5,), actor_lr=1e-3), make(horizon=2), make(steps=60)]
    assert [len(group) for group in lanes.group(jobs)] == [3, 1, 1]
    assert [len(group) for group in lanes.group([make(temperature=0.1), make(temperature=None)])] == [1, 1]
    assert [len(group) for group in lanes.group([make(temperature=0.1), make(temperature=0.2)])] == [2]


def test_the_numbers_of_a_group_are_those_that_differ_lane_by_lane() -> None:
    found = lanes.numbers([make((0, 1), penalty_weight=1.0), make((4,), penalty_weight=2.5)])
    assert list(found) == ["penalty_weight"]
    np.testing.assert_array_equal(found["penalty_weight"], [1.0, 1.0, 2.5])
    assert lanes.numbers([make((0,)), make((1,))]) == {}


def scores(folder: Path) -> dict[tuple[int, int], list[float]]:
    return {(r["seed"], r["step"]): r["returns"] for r in records.read_records(folder / records.SCORES)}


def metrics(folder: Path) -> list[dict[str, float]]:
    return records.read_records(folder / records.METRICS)


@pytest.mark.medium
def test_a_lane_of_a_grid_equals_the_same_setting_run_alone(tmp_path: Path) -> None:
    paths = Paths(cache=tmp_path / "cache")
    jobs = [make((0, 1), penalty_weight=0.5), make((1,), penalty_weight=5.0, actor_lr=1e-3)]
    together = [(job, tmp_path / f"lane{number}") for number, job in enumerate(jobs)]
    assert run_jobs(together, paths) == [[], []]
    for job, folder in together:
        alone = tmp_path / f"alone-{folder.name}"
        run_job(job, alone, paths)
        assert records.job_status(folder) == "finished"
        for ours, theirs in zip(metrics(folder), metrics(alone), strict=True):
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                assert ours[name] == pytest.approx(value, rel=2e-3, abs=1e-4), name
        assert scores(folder).keys() == scores(alone).keys()
    weights = {folder.name: metrics(folder)[0]["penalty_weight"] for _, folder in together}
    assert weights == {"lane0": 0.5, "lane1": 5.0}


@pytest.mark.medium
def test_jobs_at_different_steps_finish_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(cache=tmp_path / "cache")
    first, second = make((0,), penalty_weight=0.5), make((1,), penalty_weight=5.0)
    run_job(first, tmp_path / "whole", paths)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_conclude", lambda *args: None)
        run_job(first, tmp_path / "a", paths, save_every=0)
    assert run_jobs([(first, tmp_path / "a"), (second, tmp_path / "b")], paths) == [[], []]
    assert (tmp_path / "a" / records.SCORES).read_bytes() == (tmp_path / "whole" / records.SCORES).read_bytes()
    assert records.job_status(tmp_path / "b") == "finished"


@pytest.mark.medium
def test_each_job_of_a_group_keeps_its_own_lanes(tmp_path: Path) -> None:
    paths = Paths(cache=tmp_path / "cache")
    jobs = [(make((0, 1), penalty_weight=0.5), tmp_path / "a"), (make((1,), penalty_weight=5.0), tmp_path / "b")]
    run_jobs(jobs, paths)
    for job, folder in jobs:
        opened = open_run(job, folder, paths)
        assert opened.step == 40
        assert {leaf.shape[0] for leaf in jax.tree.leaves(opened.state)} == {len(job.seeds)}


def test_other_content_under_the_same_name_is_another_run(tmp_path: Path) -> None:
    file = tmp_path / "reference.npz"
    ids = []
    for content in (b"one", b"two"):
        file.write_bytes(content)
        job = make_job("armor", "hopper-medium", overrides={"reference": "file", "reference_file": str(file)})
        ids.append(job.id)
    assert ids[0] != ids[1]
    assert job.files.keys() == {"reference_file"}
