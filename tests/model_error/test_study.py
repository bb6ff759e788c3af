"""Whole studies of tiny models: what is written, what is not made twice, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.errors import UserError
from offline_mbrl.model_error import study as study_module
from offline_mbrl.model_error.study import FOLDER, Protocol, held_out, measure_run, measure_task, read_study
from offline_mbrl.model_error.table import report
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Paths, make_job
from offline_mbrl.training.run import run_job
from offline_mbrl.training.system import make_system

pytestmark = pytest.mark.medium

DYNAMICS: dict[str, object] = {
    "dynamics.hidden": (8,),
    "dynamics.weight_decay": (0.0, 0.0),
    "dynamics.max_epochs": 1,
    "dynamics.members": 3,
    "dynamics.elites": 2,
}
MOPO: dict[str, object] = {"hidden": (8,), "batch_size": 20, "rollout_every": 10, "rollout_batch": 20, **DYNAMICS}
PROTOCOL = Protocol(rows=20, horizon=6, samples=2)


def fail(*args: object, **kwargs: object) -> None:
    raise AssertionError("measured again")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    settings: dict[str, Any] = {
        "source": "synthetic",
        "size": 300,
        "evaluate_every": 20,
        "episodes": 1,
        "seeds": (0, 3),
    }
    job = make_job("mopo", "hopper-medium", steps=20, overrides=MOPO, **settings)
    run_job(job, tmp_path / "run", Paths(cache=tmp_path / "cache"))
    return tmp_path / "run"


def test_a_run_is_measured_under_the_data_its_policy_and_random_actions(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(cache=tmp_path / "cache")
    folder = measure_run(run, PROTOCOL, paths)
    found = read_study(folder)
    assert folder == run / FOLDER
    assert [record["about"]["seed"] for record in found] == [0, 3]
    assert list(found[0]["actions"]) == ["data", "policy", "random"]
    assert found[0]["starts"] == 20
    assert len(found[0]["actions"]["policy"]["open_loop"]["mean"]["state"]["rmse"]) == 6
    assert "| epistemic_std " in report(found)

    monkeypatch.setattr(study_module, "measure", fail)
    measure_run(run, PROTOCOL, paths)
    with pytest.raises(AssertionError, match="measured again"):
        measure_run(run, PROTOCOL._replace(horizon=5), paths)


def test_a_task_has_no_policy(tmp_path: Path) -> None:
    given = ("hopper-medium", "synthetic", 300, "d4rl-v2", "mopo", DYNAMICS, (0,))
    folder = measure_task(*given, PROTOCOL, Paths(cache=tmp_path), tmp_path / "out")  # type: ignore[arg-type]
    (found,) = read_study(folder)
    assert list(found["actions"]) == ["data", "random"]
    assert list(tmp_path.glob("dynamics/*/seeds/0"))  # the fit is kept where training looks for it


def test_starts_are_rows_that_no_member_was_fitted_to() -> None:
    data, system = synthetic(get_task("hopper-medium"), 300), make_system("mopo", get_task("hopper-medium"))
    rows = held_out(system, data, 0)
    assert len(rows) == 60  # a fifth
    assert len(np.unique(rows)) == 60


def test_a_system_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bc fits no world model"):
        measure_task("hopper-medium", "synthetic", 300, "d4rl-v2", "bc", {}, (0,), PROTOCOL, Paths(cache=tmp_path))


def test_the_command_writes_records_tables_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from offline_mbrl.cli import app

    settings = ["dynamics.hidden=[8]", "dynamics.weight_decay=[0,0]", "dynamics.max_epochs=1", "dynamics.members=2"]
    flags = [word for text in [*settings, "dynamics.elites=1"] for word in ("--set", text)]
    sizes = ["--source", "synthetic", "--size", "300", "--rows", "10", "--horizon", "3", "--samples", "1"]
    where = ["--out", str(tmp_path / "out"), "--cache-dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["offline-mbrl", "model-error", "hopper-medium", *sizes, *flags, *where])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"seed-0.json", "seed-0.png", "table.md"}
    assert (tmp_path / "out" / "table.md").read_text() in capsys.readouterr().out
    assert records.read_json(tmp_path / "out" / "seed-0.json")["about"]["data"] == "hopper-medium@300"


def test_records_of_two_protocols_are_not_read_as_one(tmp_path: Path) -> None:
    for seed, horizon in ((0, 50), (2, 50), (1, 20)):
        records.write_json(tmp_path / f"seed-{seed}.json", {"about": {"seed": seed, "horizon": horizon}})
    with pytest.raises(UserError, match="different measurements: horizon is not the same for seeds 0 and 1; measure"):
        read_study(tmp_path)
    (tmp_path / "seed-1.json").unlink()
    assert [record["about"]["seed"] for record in read_study(tmp_path)] == [0, 2]
