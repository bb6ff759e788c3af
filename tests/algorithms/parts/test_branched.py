"""Mixed batches of data and imagined rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import branched
from offline_mbrl.algorithms.parts.branched import BranchedConfig
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.dynamics.rollout import ModelStep, Rollout
from offline_mbrl.types import Array, Data, Key, Problem, Transition
from tests.algorithms import toys


def rows(count: int, label: float) -> Transition:
    return Transition(
        jnp.arange(count, dtype=jnp.float32)[:, None] * jnp.ones(2),
        jnp.zeros((count, 1)),
        jnp.full(count, label),
        jnp.ones(count),
        jnp.zeros((count, 2)),
    )


def data(count: int = 100) -> Data:
    return toys.data_of(rows(count, 1.0))


def imagined() -> Ring:
    return ring.push(ring.empty(64, 2, 1), rows(40, 2.0), jnp.ones(40, bool))


@pytest.mark.parametrize(
    ("ratio", "batch_size", "real"), [(0.05, 256, 12), (0.5, 256, 128), (0.0, 256, 0), (1.0, 64, 64), (0.05, 10, 0)]
)
def test_data_rows_come_first_and_are_floor_of_the_share(ratio: float, batch_size: int, real: int) -> None:
    config = BranchedConfig(real_ratio=ratio, batch_size=batch_size)
    made = jax.jit(lambda key: branched.mixed_batch(config, imagined(), data(), key))(jax.random.key(0))
    assert config.real_rows == real
    assert made.reward.tolist() == [1.0] * real + [2.0] * (batch_size - real)
    assert made.obs.shape == (batch_size, 2)


def test_every_data_row_is_drawn_as_often() -> None:
    config = BranchedConfig(real_ratio=1.0, batch_size=20_000)
    drawn = np.asarray(branched.mixed_batch(config, imagined(), data(10), jax.random.key(0)).obs[:, 0]).astype(int)
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, 0.1, atol=5 * np.sqrt(0.09 / 20_000))


def test_the_ring_has_room_for_the_retained_refreshes() -> None:
    config = BranchedConfig(rollout_batch=7, horizon=3, retain=4)
    assert branched.empty_ring(config, Problem(2, 1, lambda obs: obs[..., 0] > 0)).capacity == 7 * 3 * 4


def test_branches_start_from_data_states() -> None:
    def stay(obs: Array, action: Array, key: Key) -> ModelStep:
        return ModelStep(obs[:, 0], obs, jnp.ones(obs.shape[0]), obs[:, 0])

    config = BranchedConfig(rollout_batch=500, horizon=2)
    made = branched.branch(config, stay, lambda obs, key: jnp.zeros((obs.shape[0], 1)), data(10), jax.random.key(0))
    assert made.rows.obs.shape == (2, 500, 2)
    assert set(np.asarray(made.rows.obs[0, :, 0]).tolist()) == set(range(10))


def test_metrics_count_live_rows_alone() -> None:
    alive = jnp.array([[True, True], [True, False]])
    made = Rollout(
        rows(4, 0.0)._replace(reward=jnp.array([[1.0, 2.0], [6.0, 1e9]])),
        alive,
        jnp.array([[1.0, 3.0], [5.0, jnp.nan]]),
    )
    metrics = {name: float(value) for name, value in branched.rollout_metrics(made).items()}
    assert metrics == {
        "rollout_alive": 0.75,
        "rollout_reward": 3.0,
        "rollout_reward_min": 1.0,
        "rollout_reward_max": 6.0,
        "uncertainty": 3.0,
    }
    assert branched.mean_uncertainty(made).tolist() == [2.0, 5.0]
