import sys
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest

from offline_mbrl.data.behavior import uniform
from offline_mbrl.data.builtin.generate import generate
from offline_mbrl.data.builtin.recipe import set_name
from offline_mbrl.data.dataset import Dataset, from_raw
from offline_mbrl.data.minari import load_minari, to_minari
from offline_mbrl.data.source import load
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import get_task

pytestmark = pytest.mark.medium  # it compiles

TASK = get_task("hopper-random")


@pytest.fixture
def dataset() -> Dataset:
    rows = generate(TASK.robot, uniform(TASK.robot), 200, seed=0)
    return from_raw(TASK, source="builtin", name=set_name(TASK, 200), physics="d4rl-v2", **rows._asdict())


def test_minari_itself_loads_our_episodes(dataset: Dataset, tmp_path: Path) -> None:
    to_minari(dataset, "ours/hopper-random-v0")
    found = minari.load_dataset("ours/hopper-random-v0")
    assert (found.total_episodes, found.total_steps) == (len(dataset.episodes.lengths), len(dataset))
    stops = np.cumsum(dataset.episodes.lengths)
    for episode, stop, length in zip(found.iterate_episodes(), stops, dataset.episodes.lengths, strict=True):
        rows = slice(stop - length, stop)
        np.testing.assert_array_equal(episode.observations[:-1], dataset.observations[rows])
        np.testing.assert_array_equal(episode.observations[1:], dataset.next_observations[rows])
        np.testing.assert_array_equal(episode.actions, dataset.actions[rows])
        np.testing.assert_array_equal(episode.rewards, dataset.rewards[rows])
        np.testing.assert_array_equal(episode.terminations, dataset.discounts[rows] == 0)
    assert "ours/hopper-random-v0" in minari.list_local_datasets()


def test_a_round_trip_keeps_rows_episodes_and_physics_but_not_the_source(dataset: Dataset) -> None:
    to_minari(dataset, "ours/hopper-random-v0")
    again = load("hopper-random", "minari:ours/hopper-random-v0")
    assert (again.source, again.name, again.physics) == ("minari", "ours/hopper-random-v0", "d4rl-v2")
    assert again.fingerprint == dataset.fingerprint
    np.testing.assert_allclose(again.episodes.returns, dataset.episodes.returns)
    np.testing.assert_array_equal(again.episodes.complete, dataset.episodes.complete)


def test_minari_itself_normalizes_returns_by_d4rls_scale(dataset: Dataset) -> None:
    to_minari(dataset, "ours/hopper-random-v0")
    returns = np.array([-20.272305, 3234.3, 1000.0])
    scores = minari.get_normalized_score(minari.load_dataset("ours/hopper-random-v0"), returns)
    np.testing.assert_allclose(100 * scores, TASK.robot.normalized_score(returns))
    np.testing.assert_allclose(scores[:2], [0, 1])


def test_without_next_observations_terminations_are_the_falls_and_nothing_else(raw: dict[str, Any]) -> None:
    """Episodes of 3 steps to a fall, 2 to a time-out and 2 to the log's end: the last two lose their last row."""
    del raw["next_observations"]
    dataset = from_raw(TASK, source="d4rl-v0", name="log", physics="d4rl-v2", **raw)
    to_minari(dataset, "log-v0")
    episodes = list(minari.load_dataset("log-v0").iterate_episodes())
    assert [episode.terminations.tolist() for episode in episodes] == [[False, False, True], [False], [False]]
    assert [episode.truncations.tolist() for episode in episodes] == [[False, False, False], [True], [True]]
    assert [episode.observations[:, 0].tolist() for episode in episodes] == [[0, 1, 2, 2], [100, 101], [200, 201]]
    again = load_minari(TASK, "log-v0")
    np.testing.assert_array_equal(again.known_next, [1, 1, 0, 1, 1])
    assert again.fingerprint == dataset.fingerprint


def test_timeouts_at_the_horizon_come_back_as_timeouts() -> None:
    task = get_task("halfcheetah-random")
    rows = generate(task.robot, uniform(task.robot), 1500, seed=0)
    dataset = from_raw(task, source="builtin", name="x", physics="d4rl-v2", **rows._asdict())
    to_minari(dataset, "cheetah-v3")
    again = load_minari(task, "cheetah-v3")
    np.testing.assert_array_equal(again.episodes.timeouts, [True, False])
    np.testing.assert_array_equal(again.episodes.complete, [True, False])


@pytest.mark.parametrize("bad", ["hopper", "a b-v0", "../x-v0", "hopper-v", "", "/hopper-v0", "ours//x-v0"])
def test_malformed_ids_leave_nothing_behind(dataset: Dataset, bad: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no Minari id"):
        to_minari(dataset, bad)
    assert minari.list_local_datasets() == {}


def test_an_existing_set_is_not_replaced(dataset: Dataset) -> None:
    to_minari(dataset, "ours/x-v0")
    with pytest.raises(UserError, match="choose another version"):
        to_minari(dataset, "ours/x-v0")


def test_a_failed_export_leaves_no_folder(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minari.dataset.minari_storage.MinariStorage.update_metadata", fail)
    with pytest.raises(UserError, match="No space left on device"):
        to_minari(dataset, "ours/x-v0")
    assert minari.list_local_datasets() == {}


@pytest.mark.parametrize("trouble", [OSError("no such set"), RuntimeError("name or service not known\nand more")])
def test_a_set_that_cannot_be_had_is_named(trouble: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: object, **options: object) -> None:
        raise trouble

    monkeypatch.setattr(minari, "load_dataset", load_dataset)
    monkeypatch.setattr("offline_mbrl.data.minari._has_proxy", lambda: True)  # it is left to Minari to get through
    with pytest.raises(UserError, match=r"cannot get Minari set mujoco/hopper/random-v0 .*--source minari:ID"):
        load("hopper-random", "minari")


def test_what_is_in_a_damaged_set_is_not_guessed(dataset: Dataset, tmp_path: Path) -> None:
    to_minari(dataset, "x-v0")
    with h5py.File(tmp_path / "minari" / "x-v0" / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0/actions"]
    with pytest.raises(UserError, match=r"cannot read Minari set x-v0 .*; fetch or export it again"):
        load_minari(TASK, "x-v0")


def test_another_robots_set_is_refused() -> None:
    to_minari(synthetic(get_task("walker2d-medium"), 200), "walker-v0")
    with pytest.raises(UserError, match=r"observations have shape \(200, 17\); hopper-random needs \(200, 11\)"):
        load_minari(TASK, "walker-v0")


def test_without_a_network_a_set_that_is_not_here_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("name or service not known")

    def ask(*_: object, **__: object) -> None:
        raise AssertionError("Minari's own client was asked")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr(minari, "load_dataset", ask)
    monkeypatch.setattr("offline_mbrl.data.minari._has_proxy", lambda: False)
    with pytest.raises(UserError, match=r"cannot get Minari set mujoco/hopper/random-v0: it is not .*does not answer"):
        load("hopper-random", "minari")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "offline_mbrl.data.minari", None)
    monkeypatch.delattr("offline_mbrl.data.minari", raising=False)
    with pytest.raises(UserError, match=r"pip install 'offline-mbrl\[minari\]'"):
        load("hopper-random", "minari")
