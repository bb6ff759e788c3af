"""World models as files: what is taken in is what would have been fitted here."""

from pathlib import Path

import jax
import numpy as np
import pytest

from offline_mbrl.data.source import load
from offline_mbrl.errors import UserError
from offline_mbrl.pretraining.exchange import Made, check_made, export_fit, import_fit, made_of, read_head
from offline_mbrl.tasks import get_task
from offline_mbrl.training.experiment import pretrain
from offline_mbrl.training.system import System, make_system
from tests.training.tiny import TINY_MOPO

MADE = Made("dynamics", 1, {"hidden": [8, 8], "max_epochs": 2}, "hopper-medium", "aa" * 32)
PATH = Path("m.npz")


def test_what_was_made_of_the_same_is_taken() -> None:
    check_made(MADE, MADE, PATH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "bb" * 32}, "made of another data: b{16}, here it is a{16}"),
        ({"task": "walker2d-medium"}, "made of another task: walker2d-medium"),
        ({"version": 2}, "made of another version: 2, here it is 1"),
        ({"config": {"hidden": [8, 8], "max_epochs": 3}}, "--set dynamics.max_epochs=3"),
        ({"config": {"hidden": [8, 8]}}, "made with max_epochs=null, here it is 2"),
    ],
)
def test_what_was_made_of_something_else_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_made(MADE._replace(**change), MADE, PATH)  # type: ignore[arg-type]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no file that `dynamics export` wrote"):
        read_head(tmp_path / "m.npz")


def small() -> System:
    return make_system("mopo", get_task("hopper-medium"), overrides=TINY_MOPO)


@pytest.mark.medium
def test_a_file_gives_another_machine_the_same_models(tmp_path: Path) -> None:
    system, data = small(), load("hopper-medium", "synthetic", 300)
    here, there = tmp_path / "here", tmp_path / "there"
    fitted = pretrain(system, data, (0, 3), here).results["dynamics"]
    (kept,) = (here / "dynamics").iterdir()
    made = made_of("dynamics", system.pretraining["dynamics"], system.task.name, data.fingerprint)
    assert export_fit(kept, made, {}, tmp_path / "m.npz") == [0, 3]
    target = there / "dynamics" / kept.name
    rows = system.rows(data)
    assert import_fit(tmp_path / "m.npz", target, system.pretraining["dynamics"], made, rows) == [0, 3]
    assert import_fit(tmp_path / "m.npz", target, system.pretraining["dynamics"], made, rows) == []

    def fail(*_: object) -> None:
        raise AssertionError("it was fitted anew")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("offline_mbrl.pretraining.store.fit", fail)
        taken = pretrain(system, data, (0, 3), there).results["dynamics"]
    for before, after in zip(jax.tree.leaves(fitted), jax.tree.leaves(taken), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.medium
def test_a_fit_that_is_not_kept_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no fit of this configuration on these data is kept here"):
        export_fit(tmp_path, MADE, {}, tmp_path / "m.npz")
