"""Behavior cloning: its two losses by hand, the share of best episodes, and what it learns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.algorithms.systems import bc
from offline_mbrl.algorithms.systems.bc import BC, BCConfig, BCState
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Transition
from tests.algorithms import toys

PROBLEM = toys.endless(2, 1)


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


def linear_policy(policy: str, weights: list[list[float]], bias: list[float]) -> tuple[BC, BCState]:
    """A policy without hidden layers."""
    clone = bc.make(PROBLEM, BCConfig.model_validate({"policy": policy, "hidden": (), "batch_size": 4}))
    return clone, BCState(
        TrainState.create(toys.linear(weights, bias), clone.optimizer), jnp.arange(2, dtype=jnp.int32)
    )


ROWS = Transition(
    jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.5], [0.0]]), jnp.zeros(2), jnp.ones(2), jnp.zeros((2, 2))
)


def test_the_loss_of_a_deterministic_policy_is_its_squared_error() -> None:
    """tanh(s_0) against 0.5 and 0."""
    clone, state = linear_policy("deterministic", [[1.0], [0.0]], [0.0])
    assert float(bc.actor_loss(clone, state.actor.params, ROWS)) == pytest.approx((np.tanh(1.0) - 0.5) ** 2 / 2)


def test_the_loss_of_a_gaussian_policy_is_its_negative_log_likelihood() -> None:
    """u ~ N(s_0, e^(2 s_1 / 2)): log N(atanh 0.5; 1, 1) - log(1 - 0.25) and log N(0; 0, e^0.5)."""
    clone, state = linear_policy("gaussian", [[1.0, 0.0], [0.0, 0.5]], [0.0, 0.0])
    log_probs = -0.5 * (np.arctanh(0.5) - 1) ** 2 - np.log(0.75), -0.5
    expected = 0.5 * np.log(2 * np.pi) - np.mean(log_probs)
    assert float(bc.actor_loss(clone, state.actor.params, ROWS)) == pytest.approx(expected, rel=1e-5)


def test_a_step_goes_down_the_loss() -> None:
    clone, state = linear_policy("deterministic", [[1.0], [0.0]], [0.0])
    after, metrics = bc.update(clone, state, ROWS, toys.KEY)
    assert float(metrics["actor_loss"]) == pytest.approx((np.tanh(1.0) - 0.5) ** 2 / 2)
    # Adam's first step is its rate: s_0 and the bias push the first action down toward 0.5; s_1 has no error.
    dense = after.actor.params["MLP_0"]["Dense_0"]
    np.testing.assert_allclose(dense["kernel"], [[1 - 3e-4], [0.0]], rtol=1e-6)
    np.testing.assert_allclose(dense["bias"], [-3e-4], rtol=1e-4)


def test_only_chosen_rows_are_sampled() -> None:
    clone, state = linear_policy("deterministic", [[1.0], [0.0]], [0.0])
    rows = toys.random_rows(50, 2, 1)
    batch = bc.sample(clone, state.replace(chosen=jnp.array([3, 7], jnp.int32)), toys.data_of(rows), toys.KEY)
    assert set(np.asarray(batch.reward).tolist()) <= {float(rows.reward[3]), float(rows.reward[7])}


def cloned(**settings: Any) -> tuple[Algorithm, BCState]:
    """300 steps on two behaviors: episodes that return 1 act tanh(s_0), those that return 0 act -0.9."""
    generator = np.random.default_rng(0)
    obs, good = generator.normal(size=(400, 2)), np.arange(400) < 100
    action = np.where(good, np.tanh(obs[:, 0]), -0.9)[:, None]
    config = BCConfig(hidden=(16, 16), learning_rate=1e-2, batch_size=64, **settings)
    algorithm = bc.build(PROBLEM, config, 300)
    state, _ = toys.train(algorithm, toys.bandit(obs, action, good), 300)
    return algorithm, state


@pytest.mark.medium
@pytest.mark.parametrize("policy", ["deterministic", "gaussian"])
def test_the_best_quarter_is_cloned_and_the_rest_is_not(policy: str) -> None:
    algorithm, state = cloned(policy=policy, best_share=0.25)
    obs = jnp.array([[-0.8, 0.3], [0.0, 0.0], [0.8, -0.5]])

    def act(deterministic: bool) -> Array:
        keys = jax.random.split(jax.random.key(0), 3)
        return jnp.stack([algorithm.act(state, o, k, deterministic) for o, k in zip(obs, keys, strict=True)])

    np.testing.assert_allclose(act(True)[:, 0], np.tanh([-0.8, 0.0, 0.8]), atol=0.12)
    assert np.abs(np.asarray(act(False))).max() <= 1
    if policy == "deterministic":
        np.testing.assert_array_equal(act(True), act(False))


@pytest.mark.medium
def test_all_rows_give_the_mean_action() -> None:
    algorithm, state = cloned()
    action = float(algorithm.act(state, jnp.zeros(2), jax.random.key(0), True)[0])
    assert action == pytest.approx(0.75 * -0.9, abs=0.15)
