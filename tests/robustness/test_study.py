"""Runs measured from their folders: nothing changed is their own evaluation, and what is done is not done again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.robustness import study as study_module
from offline_mbrl.robustness.attacks import ATTACKS
from offline_mbrl.robustness.evaluate import measure_batch
from offline_mbrl.robustness.protocol import Point, Protocol
from offline_mbrl.robustness.study import ROBUSTNESS, open_policies, study
from offline_mbrl.storage import records
from offline_mbrl.training.job import Paths, make_job, read_job
from offline_mbrl.training.run import run_job
from tests.training.tiny import TINY_BC

pytestmark = pytest.mark.medium

SMALL = Protocol(episodes=2, points=2, draws=3)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return Paths(cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def td3(tmp_path_factory: pytest.TempPathFactory, paths: Paths) -> Path:
    """Two seeds of a system with critics, trained to the end and measured."""
    return _measured_run("td3_bc", TINY_BC, tmp_path_factory, paths)


@pytest.fixture(scope="module")
def bc(tmp_path_factory: pytest.TempPathFactory, paths: Paths) -> Path:
    """The same of one without."""
    return _measured_run("bc", TINY_BC, tmp_path_factory, paths)


def _measured_run(algorithm: str, overrides: dict[str, object], factory: pytest.TempPathFactory, paths: Paths) -> Path:
    settings: dict[str, Any] = {
        "source": "synthetic",
        "size": 300,
        "evaluate_every": 10,
        "episodes": 2,
        "seeds": (0, 1),
    }
    run = factory.mktemp("runs") / algorithm
    run_job(make_job(algorithm, "hopper-medium", steps=20, overrides=overrides, **settings), run, paths)
    study(run, SMALL, (), paths)
    return run


def of(run: Path, kind: str) -> list[records.Record]:
    return [record for record in records.read_records(run / ROBUSTNESS) if record["kind"] == kind]


def own_returns(run: Path) -> list[list[float]]:
    return [record["returns"] for record in records.read_records(run / records.SCORES) if record["step"] == 20]


def test_nothing_changed_is_the_runs_own_evaluation_bit_for_bit(td3: Path) -> None:
    assert [record["returns"] for record in of(td3, "clean")] == own_returns(td3)


@pytest.mark.parametrize("kind", ATTACKS)
def test_an_attack_without_budget_is_the_runs_own_evaluation(td3: Path, kind: str) -> None:
    """At one of two budgets that were attacked side by side."""
    assert [record["returns"] for record in of(td3, kind) if record["epsilon"] == 0] == own_returns(td3)
    assert [record["returns"] for record in of(td3, kind) if record["epsilon"] > 0] != own_returns(td3)


def test_multipliers_of_one_among_others_are_the_runs_own_evaluation(td3: Path, paths: Paths) -> None:
    """Robots of other physics are stepped beside it."""
    points = [Point("grid", (("friction", f), ("gravity", g))) for f, g in ((0.5, 2.0), (1.0, 1.0), (1.5, 0.5))]
    played = measure_batch(open_policies(read_job(td3), td3, paths), SMALL, points)
    assert [np.asarray(record["returns"]).tolist() for record in played if record["friction"] == 1] == own_returns(td3)


def test_every_point_is_recorded_once_for_each_seed(td3: Path) -> None:
    """Clean 1, grid 4, three multipliers of 2, five attacks of 2, five sensors: 26 points of two seeds."""
    found = [(record["variant"], record["seed"]) for record in records.read_records(td3 / ROBUSTNESS)]
    assert len(found) == len(set(found)) == 26 * 2


def test_what_is_measured_is_not_measured_again(td3: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (td3 / ROBUSTNESS).read_bytes()
    monkeypatch.setattr(study_module, "open_policies", None)
    assert study(td3, SMALL, (), paths) == 0
    assert (td3 / ROBUSTNESS).read_bytes() == before


def test_a_study_that_was_killed_goes_on_where_it_was(td3: Path, paths: Paths) -> None:
    file = td3 / ROBUSTNESS
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    try:
        file.write_bytes(b"".join(lines[:-6]) + lines[-6][:20])  # three sensors and a torn line
        records.truncate_after(file, 20)
        assert study(td3, SMALL, (), paths) == 3
        assert file.read_bytes() == whole
    finally:
        file.write_bytes(whole)


def test_a_system_without_critics_gets_the_attacks_that_ask_none(bc: Path) -> None:
    assert {record["kind"] for record in records.read_records(bc / ROBUSTNESS)} & set(ATTACKS) == {
        "random",
        "action_diff",
        "pgd_action",
    }


def test_asking_critics_of_a_system_without_is_one_line(bc: Path, paths: Paths) -> None:
    with pytest.raises(UserError, match="bc has no critics, which min_q would ask"):
        study(bc, SMALL, ("min_q",), paths)


def test_an_unknown_attack_is_named_with_the_nearest(bc: Path, paths: Paths) -> None:
    with pytest.raises(UserError, match="unknown attack 'min_Q'; did you mean 'min_q'"):
        study(bc, SMALL, ("min_Q",), paths)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path, paths: Paths) -> None:
    with pytest.raises(UserError, match="holds no run"):
        study(tmp_path, SMALL, (), paths)


def test_a_run_that_never_trained_is_one_line(tmp_path: Path, paths: Paths) -> None:
    job = make_job("bc", "hopper-medium", steps=20, overrides=TINY_BC, evaluate_every=10)
    records.write_json(tmp_path / records.JOB, {"id": job.id} | job.model_dump(mode="json"))
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        study(tmp_path, SMALL, (), paths)
