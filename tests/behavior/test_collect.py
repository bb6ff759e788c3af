from pathlib import Path

import jax
import numpy as np
import pytest

from offline_mbrl.algorithms.parts.sac import SACConfig
from offline_mbrl.behavior.collect import CollectConfig, Explorer, collect, collect_with_progress, with_batch_size
from offline_mbrl.errors import UserError
from offline_mbrl.nn import weights as policies
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import get_robot

HOPPER = get_robot("hopper")
TINY = CollectConfig(
    sac=SACConfig(hidden=(8, 8), batch_size=8, actor_lr_decay=False),
    epoch_steps=20,
    warmup_steps=40,
    envs=2,
    replay_size=200,
    snapshot_epochs=1,
    snapshot_episodes=2,
)


def test_an_explorer_never_bridges_two_episodes() -> None:
    explorer = Explorer(Simulator(HOPPER, 3), seed=0)
    rows = jax.device_get(explorer.run(lambda obs, number: np.ones((3, 3), np.float32), 60))
    obs, next_obs, discount = (x.reshape(60, 3, -1) for x in (rows.obs, rows.next_obs, rows.discount))
    ended = discount[:-1, :, 0] == 0
    assert ended.any(), "no hopper fell in 60 steps of constant torque"
    goes_on = (next_obs[:-1] == obs[1:]).all(axis=-1)
    np.testing.assert_array_equal(goes_on, ~ended)
    assert (np.abs(obs[1:][ended][:, 1]) < 0.01).all()  # a new episode begins upright
    assert (np.abs(next_obs[:-1][ended][:, 1]) >= 0.2).all()  # and the fall is kept as it was


def test_a_time_out_keeps_its_discount() -> None:
    cheetah = get_robot("halfcheetah")
    explorer = Explorer(Simulator(cheetah, 1), seed=0)
    rows = jax.device_get(explorer.run(lambda obs, number: np.zeros((1, 6), np.float32), 1001))
    assert (rows.discount == 1).all()
    assert not np.array_equal(rows.next_obs[999], rows.obs[1000])  # yet a new episode began


@pytest.mark.medium
def test_a_run_leaves_snapshots_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    epochs: list[int] = []
    for total in (2, 3):
        collect(HOPPER, tmp_path, total, config=TINY, report=lambda epoch, metrics: epochs.append(epoch))
    assert epochs == [1, 2, 3]
    files = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert files == ["00000020.npz", "00000040.npz", "00000060.npz"]
    weights = [policies.load(tmp_path / "snapshots" / file) for file in files]
    assert all(policy.returns.shape == (2,) for policy in weights)
    first, last = (jax.tree.leaves(weights[i].actor) for i in (0, -1))
    assert any((a != b).any() for a, b in zip(first, last, strict=True)), "three epochs of learning moved no weight"


@pytest.mark.medium
def test_the_learning_curve_is_drawn(tmp_path: Path) -> None:
    collect_with_progress(HOPPER, tmp_path, 1, config=TINY)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("seed", "epochs"), [(-1, 1), (2**31, 1), (0, 0)])
def test_seeds_and_epochs_out_of_range_are_refused(tmp_path: Path, seed: int, epochs: int) -> None:
    with pytest.raises(UserError, match=rf"a seed from 0 to 2147483647 and at least 1 epoch, not {seed} and {epochs}"):
        collect(HOPPER, tmp_path, epochs, seed=seed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("batch_size", "words"),
    [
        (0, "collect setting sac.batch_size=0: input should be greater than or equal to 1"),
        (10**12, "a batch of 1000000000000 rows is more than the 1000000 that are kept"),
    ],
)
def test_batches_out_of_range_are_refused(batch_size: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        with_batch_size(batch_size)
    assert with_batch_size(128).sac.batch_size == 128
    assert with_batch_size(128).sac.temperature_max is None
