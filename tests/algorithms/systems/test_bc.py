"""Behavior cloning: its two losses by hand, the share of best episodes, and what it learns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.algorithms.systems import bc
from offline_mbrl.algorithms.systems.bc import BCConfig, BCState
from offline_mbrl.types import Array, Data, Key, Problem, Transition

PROBLEM = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))


def test_squared_error_by_hand_plain_jitted_and_over_seeds() -> None:
    prediction, action = jnp.array([[1.0, 0.0], [0.5, -0.5]]), jnp.array([[0.0, 0.0], [0.5, 0.5]])
    assert float(bc.squared_error(prediction, action)) == 0.5  # (1 + 0 + 0 + 1) / 4
    assert float(jax.jit(bc.squared_error)(prediction, action)) == 0.5
    several = jax.vmap(bc.squared_error, in_axes=(0, None))(jnp.stack([prediction, action]), action)
    assert several.tolist() == [0.5, 0.0]


def test_likelihood_by_hand() -> None:
    """For a = tanh(u): log N(u; 0.5, 2) - log(1 - a^2)."""
    u, mean, std = np.array([0.2, -1.0]), 0.5, 2.0
    log_prob = -0.5 * ((u - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi) - np.log(1 - np.tanh(u) ** 2)
    arguments = jnp.full((2, 1), mean), jnp.full((2, 1), np.log(std)), jnp.tanh(jnp.asarray(u, jnp.float32))[:, None]
    assert float(bc.negative_log_likelihood(*arguments)) == pytest.approx(-log_prob.mean(), rel=1e-4)
    assert float(jax.jit(bc.negative_log_likelihood)(*arguments)) == pytest.approx(-log_prob.mean(), rel=1e-4)


def test_the_best_rows_are_those_of_the_best_episodes() -> None:
    returns = jnp.repeat(jnp.array([3.0, 9.0, 1.0, 5.0]), 25)
    assert bc.best_rows(returns, 0.25).tolist() == list(range(25, 50))
    assert sorted(bc.best_rows(returns, 0.5).tolist()) == list(range(25, 50)) + list(range(75, 100))
    assert sorted(bc.best_rows(returns, 1.0).tolist()) == list(range(100))
    assert bc.best_rows(returns, 0.001).shape == (1,)


def cloned(**settings: Any) -> tuple[Algorithm, BCState]:
    """300 steps on two behaviors: episodes that return 1 act tanh(s_0), those that return 0 act -0.9."""
    generator = np.random.default_rng(0)
    obs, good = generator.normal(size=(400, 2)), np.arange(400) < 100
    action = np.where(good, np.tanh(obs[:, 0]), -0.9)[:, None]
    rows = Transition(*(jnp.asarray(x, jnp.float32) for x in (obs, action, np.zeros(400), np.ones(400), obs)))
    data = Data(rows, jnp.asarray(good, jnp.float32), jnp.zeros(400, bool), jnp.ones(400, bool))
    made = bc.build(PROBLEM, BCConfig(hidden=(16, 16), learning_rate=1e-2, batch_size=64, **settings), 300)

    def step(state: BCState, key: Key) -> tuple[BCState, Array]:
        state, metrics = made.update(state, made.sample(state, data, key), key)
        return state, metrics["actor_loss"]

    run = jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(jax.random.key(0), 300)))
    state, _ = run(made.init(jax.random.key(1), data, None))
    return made, state


@pytest.mark.medium
@pytest.mark.parametrize("policy", ["deterministic", "gaussian"])
def test_the_best_quarter_is_cloned_and_the_rest_is_not(policy: str) -> None:
    made, state = cloned(policy=policy, best_share=0.25)
    obs = jnp.array([[-0.8, 0.3], [0.0, 0.0], [0.8, -0.5]])

    def act(deterministic: bool) -> Array:
        keys = jax.random.split(jax.random.key(0), 3)
        return jnp.stack([made.act(state, o, k, deterministic) for o, k in zip(obs, keys, strict=True)])

    np.testing.assert_allclose(act(True)[:, 0], np.tanh([-0.8, 0.0, 0.8]), atol=0.12)
    assert np.abs(np.asarray(act(False))).max() <= 1
    if policy == "deterministic":
        np.testing.assert_array_equal(act(True), act(False))


@pytest.mark.medium
def test_all_rows_give_the_mean_action() -> None:
    made, state = cloned()
    action = float(made.act(state, jnp.zeros(2), jax.random.key(0), True)[0])
    assert action == pytest.approx(0.75 * -0.9, abs=0.15)
