from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.storage import records
from offline_mbrl.storage.formats import FORMAT
from offline_mbrl.training.job import Job, claim, make_job, read_job


def job(**changes: object) -> Job:
    settings: dict[str, Any] = {"evaluate_every": 100, "source": "synthetic", "size": 1000}
    return make_job("mopo", "hopper-medium", steps=1000, **settings | changes)


def test_presets_are_resolved_into_the_job() -> None:
    assert job().config["penalty_weight"] == 5.0
    assert job(overrides={"penalty_weight": 2}).config["penalty_weight"] == 2.0


def test_id_is_stable_and_moves_with_every_field() -> None:
    assert job().id == job().id
    changes: list[dict[str, object]] = [
        {"seeds": (1,)},
        {"size": 2000},
        {"physics": "gymnasium-v4"},
        {"episodes": 5},
        {"precision": "highest"},
        {"overrides": {"penalty_weight": 2}},
    ]
    assert len({job().id, *(job(**change).id for change in changes)}) == 1 + len(changes)


def test_steps_must_be_whole_periods() -> None:
    with pytest.raises(UserError, match="1000 steps are not a multiple of the 300"):
        job(evaluate_every=300)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"penalty_weight": -1}, "mopo setting penalty_weight=-1: input should be greater than or equal to 0"),
        ({"horizon": 0}, "mopo setting horizon=0: input should be greater than or equal to 1"),
        ({"horizn": 3}, "unknown mopo setting 'horizn'; did you mean 'horizon'"),
        ({"dynamics.patiense": 3}, "did you mean 'dynamics.patience'"),
        ({"penalty": "nonsense"}, "mopo setting penalty='nonsense'"),
    ],
)
def test_wrong_settings_name_themselves(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        job(overrides=overrides)


def test_an_unknown_field_of_the_run_is_refused() -> None:
    with pytest.raises(UserError, match="run setting precision='exact'"):
        job(precision="exact")


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    claim(out, job())
    claim(out, job())
    assert read_job(out) == job()
    assert records.read_json(out / records.JOB)["format"] == FORMAT
    before = (out / records.JOB).read_bytes()
    with pytest.raises(UserError, match="belongs to another run"):
        claim(out, job(size=2000))
    assert (out / records.JOB).read_bytes() == before
