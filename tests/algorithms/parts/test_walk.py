"""One model that goes on learning: its errors by hand, its imagined rows, and who walks on in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts.walk import Walk, advance, imagine, restart, reward_error, transition_error
from offline_mbrl.dynamics.ensemble import Gaussian
from offline_mbrl.types import Problem, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: obs[..., 0] > 1.0)
PUSH_RIGHT = toys.linear_world(jnp.zeros((1, 3, 3)).at[0, 2, :2].set(1.0))
"""r = a, s' = s + (a, 0)."""


def test_transition_error_is_the_negative_log_density_of_the_state() -> None:
    generator = np.random.default_rng(1)
    mean, std = generator.normal(size=(5, 3)), generator.uniform(0.1, 2.0, size=(5, 3))
    obs, next_obs, reward = generator.normal(size=(5, 2)), generator.normal(size=(5, 2)), generator.normal(size=5)
    rows = Transition(*(jnp.asarray(x) for x in (obs, np.zeros((5, 1)), reward, np.ones(5), next_obs)))
    gaussian = Gaussian(jnp.asarray(mean), jnp.asarray(std))
    spread = std[:, 1:]
    density = np.exp(-(((next_obs - obs - mean[:, 1:]) / spread) ** 2) / 2) / (spread * (2 * np.pi) ** 0.5)
    expected = -np.log(density.prod(axis=1)).mean()
    assert float(jax.jit(transition_error)(gaussian, rows)) == pytest.approx(expected, rel=1e-5)
    assert float(reward_error(gaussian, rows)) == pytest.approx(((mean[:, 0] - reward) ** 2).mean(), rel=1e-5)


def test_imagined_rows_take_the_mean_reward_and_keep_the_models_gradient() -> None:
    gaussian = Gaussian(jnp.array([[5.0, 0.5, 1.0]]), jnp.array([[9.0, 0.1, 0.2]]))

    def make(gaussian: Gaussian) -> Transition:
        noise = jnp.array([[1.0, -1.0]])
        return imagine(PROBLEM, gaussian, jnp.array([[0.1, 0.2]]), jnp.zeros((1, 1)), noise)

    rows = make(gaussian)
    np.testing.assert_allclose(rows.next_obs, [[0.7, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(rows.reward, [5.0])
    np.testing.assert_allclose(rows.discount, [1.0])
    slope = jax.grad(lambda g: make(g).next_obs.sum() + make(g).reward.sum())(gaussian)
    np.testing.assert_allclose(slope.mean, [[1.0, 1.0, 1.0]])
    np.testing.assert_allclose(slope.std, [[0.0, 1.0, -1.0]])
    assert float(make(gaussian._replace(mean=jnp.array([[0.0, 2.0, 0.0]]))).discount[0]) == 0.0


def test_the_dead_stay_dead_until_a_reset_is_due() -> None:
    still = jnp.zeros((3, 2))
    walk = Walk(jnp.array([[0.9, 0.0], [0.9, 0.0], [0.0, 0.0]]), jnp.array([True, True, False]))
    walk, rows = advance(PROBLEM, PUSH_RIGHT, walk, jnp.array([[0.5], [-0.5], [0.0]]), still)
    np.testing.assert_array_equal(walk.alive, [False, True, False])
    np.testing.assert_allclose(rows.discount, [0.0, 1.0, 1.0])
    np.testing.assert_allclose(walk.obs[1], [0.4, 0.0], rtol=1e-6)
    kept = restart(walk, jnp.ones((3, 2)), jnp.asarray(False))
    assert not toys.differ(kept, walk)
    fresh = restart(walk, jnp.ones((3, 2)), jnp.asarray(True))
    np.testing.assert_array_equal(fresh.alive, [True, True, True])
    np.testing.assert_array_equal(fresh.obs, np.ones((3, 2)))


def test_a_prediction_that_is_not_finite_ends_a_walk() -> None:
    world = toys.linear_world(jnp.full((1, 3, 3), jnp.nan))
    start = Walk(jnp.zeros((1, 2)), jnp.ones(1, bool))
    walk, _ = advance(toys.endless(2, 1), world, start, jnp.zeros((1, 1)), jnp.zeros((1, 2)))
    assert not walk.alive.any()
