"""The networks, the policy's law, and the optimizer state beside the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offline_mbrl.nn.networks import (
    MLP,
    Critic,
    DeterministicActor,
    GaussianActor,
    action_log_prob,
    apply,
    critic_ensemble,
    init_params,
    tanh_gaussian,
)
from offline_mbrl.nn.train_state import TrainState, cosine_adam, polyak


def hand_log_prob(mean: np.ndarray, log_std: np.ndarray, u: np.ndarray) -> np.ndarray:
    """sum_k [ log N(u_k; mean_k, std_k) - 2 (log 2 - u_k - softplus(-2 u_k)) ] of a = tanh(u)."""
    normal = -0.5 * ((u - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    jacobian = 2 * (np.log(2) - u - np.log1p(np.exp(-2 * u)))
    return np.asarray((normal - jacobian).sum(axis=-1))


def test_log_probability_by_hand() -> None:
    generator = np.random.default_rng(0)
    mean, log_std, u = generator.normal(size=(3, 20, 2))
    log_prob = tanh_gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(log_std, jnp.float32)).log_prob(
        jnp.tanh(jnp.asarray(u, jnp.float32))
    )
    np.testing.assert_allclose(log_prob, hand_log_prob(mean, log_std, u), rtol=1e-3, atol=1e-3)


def test_sampled_log_probability_belongs_to_the_sample_even_where_tanh_saturates() -> None:
    """At |u| = 12 the action rounds to 1 and its own atanh is infinite; the pair is computed from u."""
    mean, log_std = jnp.array([[12.0, -12.0]]), jnp.array([[-1.0, -1.0]])
    action, log_prob = tanh_gaussian(mean, log_std).sample_and_log_prob(seed=jax.random.key(0))
    assert np.abs(np.asarray(action)).max() <= 1
    u = 12 * np.array([[1.0, -1.0]])
    assert float(log_prob[0]) == pytest.approx(float(hand_log_prob(np.asarray(mean), np.asarray(log_std), u)[0]), abs=6)
    assert np.isfinite(np.asarray(log_prob)).all()


def test_density_integrates_to_one() -> None:
    grid = jnp.linspace(-0.9999, 0.9999, 20_001)[:, None]
    density = jnp.exp(tanh_gaussian(jnp.full_like(grid, 0.4), jnp.full_like(grid, -0.7)).log_prob(grid))
    assert float(jnp.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-3)


def test_logged_actions_at_the_edge_have_a_finite_likelihood() -> None:
    action = jnp.array([[1.0, -1.0], [0.0, 0.5]])
    mean, log_std = jnp.zeros((2, 2)), jnp.zeros((2, 2))
    log_prob = np.asarray(action_log_prob(mean, log_std, action))
    assert np.isfinite(log_prob).all()
    u = np.arctanh(np.array([0.0, 0.5]))
    assert log_prob[1] == pytest.approx(float(hand_log_prob(np.zeros(2), np.zeros(2), u)), rel=1e-4)
    grads = jax.grad(lambda m: action_log_prob(m, log_std, action).sum())(mean)
    assert np.isfinite(np.asarray(grads)).all()


def test_mlp_by_hand() -> None:
    module = MLP((5,), 2)
    params = init_params(module, jax.random.key(0), 3)
    x = np.random.default_rng(0).normal(size=(4, 3))
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.maximum(x @ np.asarray(first["kernel"]) + np.asarray(first["bias"]), 0)
    expected = hidden @ np.asarray(second["kernel"]) + np.asarray(second["bias"])
    np.testing.assert_allclose(np.asarray(module.apply({"params": params}, x)), expected, rtol=1e-4, atol=1e-5)
    limit = np.sqrt(6 / (3 + 5))
    assert 0.5 * limit < np.abs(np.asarray(first["kernel"])).max() <= limit
    assert not np.asarray(first["bias"]).any()


def test_rows_of_integers_are_those_of_floats() -> None:
    module = MLP((5,), 2)
    params, rows = init_params(module, jax.random.key(0), 3), jnp.array([[1, -2, 3]])
    np.testing.assert_array_equal(apply(module, params, rows), apply(module, params, rows.astype(jnp.float32)))
    assert jnp.abs(apply(module, params, rows)).min() > 0


def test_actor_bounds_its_deviation_and_depends_on_the_state() -> None:
    module = GaussianActor((8,), 2, (-5.0, 2.0))
    params = init_params(module, jax.random.key(0), 3)
    x = 1e4 * jax.random.normal(jax.random.key(1), (200, 3))
    mean, log_std = map(np.asarray, module.apply({"params": params}, x))
    assert mean.shape == log_std.shape == (200, 2)
    assert (float(log_std.min()), float(log_std.max())) == (-5.0, 2.0)


def test_deterministic_actions_lie_in_the_box() -> None:
    module = DeterministicActor((8,), 2)
    params = init_params(module, jax.random.key(0), 3)
    action = np.asarray(module.apply({"params": params}, 10 * jax.random.normal(jax.random.key(1), (50, 3))))
    assert action.shape == (50, 2)
    assert np.abs(action).max() <= 1


def test_critics_of_an_ensemble_are_independent_critics() -> None:
    module = critic_ensemble(3, (8, 8))
    params = init_params(module, jax.random.key(0), 3, 2)
    obs, action = jax.random.normal(jax.random.key(1), (7, 3)), jnp.ones((7, 2))
    together = np.asarray(module.apply({"params": params}, obs, action))
    assert together.shape == (3, 7)
    for k in range(3):
        alone = Critic((8, 8)).apply({"params": jax.tree.map(lambda leaf, k=k: leaf[k], params)}, obs, action)
        np.testing.assert_allclose(together[k], np.asarray(alone), rtol=1e-4, atol=1e-5)
    assert np.abs(together[0] - together[1]).mean() > 1e-3


def test_polyak_moves_by_tau() -> None:
    moved = polyak({"w": jnp.array([0.0, 10.0])}, {"w": jnp.array([1.0, 0.0])}, 0.1)
    np.testing.assert_allclose(moved["w"], [0.1, 9.0], rtol=1e-6)


def test_a_step_is_the_optimizers_step() -> None:
    optimizer = optax.adam(0.1)
    state = TrainState.create({"w": jnp.array([1.0, 2.0])}, optimizer)
    stepped = state.step({"w": jnp.array([0.5, -3.0])}, optimizer)
    np.testing.assert_allclose(stepped.params["w"], [0.9, 2.1], rtol=1e-4)  # Adam's first step is the rate, by sign
    assert int(stepped.opt_state[0].count) == 1


def test_cosine_decay_ends_at_zero_and_none_is_constant() -> None:
    def rates(steps: int | None) -> list[float]:
        optimizer, moved = cosine_adam(0.1, steps), []
        state = TrainState.create(jnp.zeros(()), optimizer)
        for _ in range(12):
            new = state.step(jnp.ones(()), optimizer)
            moved.append(float(state.params - new.params))
            state = new
        return moved

    decayed = rates(10)
    assert decayed[0] == pytest.approx(0.1, rel=1e-3)
    assert decayed[5] == pytest.approx(0.05, rel=1e-2)
    assert decayed[10] == pytest.approx(0.0, abs=1e-7)
    np.testing.assert_allclose(rates(None), 0.1, rtol=1e-3)
