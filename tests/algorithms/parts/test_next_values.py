"""The values of predicted next states, on worlds and critics small enough to work out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.next_values import (
    SpreadConfig,
    lowered_target,
    mean_on_model_rows,
    next_values,
    require_two_elites,
    sample_next_obs,
    spread,
)
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.errors import UserError
from offline_mbrl.types import Array, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

CONFIG = BranchedConfig(hidden=(), batch_size=4, rollout_batch=1, horizon=1)
SYSTEM = sac.make(toys.PROBLEM, CONFIG, 1)

# Critic k: Q_k(s, a) = s_0 + 10 s_1 + k; the action does not matter and the minimum is the first.
CRITIC = toys.linear_critics([[1.0, 10.0, 0.0]] * 2, [0.0, 1.0])


def world(shift: list[list[float]], std: float, elites: list[int]) -> Ensemble:
    """Members that predict s' = s + shift_i with one standard deviation for every dimension."""
    constant = jnp.pad(jnp.array(shift), ((0, 0), (1, 0)))
    return toys.linear_world(jnp.zeros((len(shift), 3, 3)), constant, float(np.log(std)), elites)


def state_in(ensemble: Ensemble) -> BranchedState:
    return toys.state_in(ensemble, CONFIG, CRITIC)


def rows(obs: Array) -> Transition:
    n = obs.shape[0]
    return Transition(obs, jnp.zeros((n, 1)), jnp.zeros(n), jnp.ones(n), obs)


SHIFT = [[1.0, 0.0], [0.0, 1.0], [100.0, 100.0]]
OBS = jnp.array([[0.0, 0.0], [2.0, -1.0]])


def test_value_of_each_elite_is_the_minimum_critic_at_its_next_state() -> None:
    state = state_in(world(SHIFT, std=1e-9, elites=[1, 0]))
    values = next_values(SYSTEM, state, rows(OBS), 3, jax.random.key(1))
    # Elite 1 adds (0, 1), worth 10; elite 0 adds (1, 0), worth 1. The third member is no elite and is not heard.
    np.testing.assert_allclose(values, [[10.0, 2.0], [1.0, -7.0]], rtol=1e-5)


def test_jitted_and_batched_over_seeds_it_is_the_same() -> None:
    state = state_in(world(SHIFT, std=0.1, elites=[0, 1]))
    keys = jax.random.split(jax.random.key(2), 2)
    plain = [next_values(SYSTEM, state, rows(OBS), 3, key) for key in keys]
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    batched = jax.jit(jax.vmap(lambda s, k: next_values(SYSTEM, s, rows(OBS), 3, k)))(stacked, keys)
    np.testing.assert_allclose(batched, jnp.stack(plain), rtol=1e-5)


def test_draws_carry_the_members_noise_and_their_mean_removes_it() -> None:
    ensemble = world([[0.0, 0.0], [5.0, 0.0]], std=0.5, elites=[0, 1])
    drawn = sample_next_obs(ensemble, OBS, jnp.zeros((2, 1)), 4000, jax.random.key(3))
    assert drawn.shape == (4000, 2, 2, 2)
    np.testing.assert_allclose(drawn.std(axis=0), 0.5, atol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0)[1] - OBS, [[5.0, 0.0], [5.0, 0.0]], atol=0.05)
    assert np.corrcoef(drawn[:, 0, 0, 0], drawn[:, 1, 0, 0])[0, 1] < 0.1  # members do not share their noise


def test_no_entropy_enters() -> None:
    state = state_in(world(SHIFT, std=1e-9, elites=[0, 1]))
    hot = state.replace(
        learner=state.learner.replace(log_alpha=state.learner.log_alpha.replace(params=jnp.array(-0.1)))
    )
    key = jax.random.key(4)
    np.testing.assert_array_equal(
        next_values(SYSTEM, state, rows(OBS), 2, key), next_values(SYSTEM, hot, rows(OBS), 2, key)
    )


def test_no_gradient_leaves() -> None:
    state = state_in(world(SHIFT, std=0.1, elites=[0, 1]))

    def total(critic: object) -> Array:
        other = state.replace(learner=state.learner.replace(target=critic))
        return next_values(SYSTEM, other, rows(OBS), 2, jax.random.key(5)).sum()

    assert all(not leaf.any() for leaf in jax.tree.leaves(jax.grad(total)(CRITIC)))


def test_data_rows_come_first_and_get_nothing() -> None:
    config = SpreadConfig(hidden=(), batch_size=4, real_ratio=0.5, next_samples=1)
    state, batch = state_in(world(SHIFT, std=1e-9, elites=[1, 0])), rows(jnp.tile(OBS, (2, 1)))
    found = spread(
        config, SYSTEM, state, batch, lambda values: values.max(axis=0) - values.min(axis=0), jax.random.key(6)
    )
    np.testing.assert_allclose(found, [0.0, 0.0, 9.0, 9.0], rtol=1e-5)
    assert float(mean_on_model_rows(config, found)) == pytest.approx(9.0)


def test_target_by_hand() -> None:
    reward, discount, value = jnp.array([1.0, -3.0]), jnp.array([0.9, 0.0]), jnp.array([10.0, 10.0])
    # MICRO lowers the value inside the discount, MOBILE the reward outside it.
    inside = lowered_target(reward, discount, value, 0.0, jnp.array([1.0, 1.0]), floor=False)
    np.testing.assert_allclose(inside, [1 + 0.9 * 9, -3.0], rtol=1e-6)
    outside = lowered_target(reward, discount, value, jnp.array([2.0, 1.0]), 0.0, floor=False)
    np.testing.assert_allclose(outside, [1 - 2 + 9, -4.0], rtol=1e-6)
    floored = lowered_target(reward, discount, value, jnp.array([2.0, 1.0]), 0.0, floor=True)
    np.testing.assert_allclose(floored, [8.0, 0.0], rtol=1e-6)


def test_one_elite_has_no_spread() -> None:
    with pytest.raises(UserError, match="needs two elites"):
        require_two_elites(BranchedConfig(dynamics=GaussianConfig(elites=1)))
