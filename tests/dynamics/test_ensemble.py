"""The ensemble's forward pass, its bounds, and which members a step is drawn from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from offline_mbrl.dynamics.ensemble import (
    Ensemble,
    Gaussian,
    draw,
    pick,
    predict,
    predict_random_elite,
    sample_members,
)
from offline_mbrl.dynamics.models.gaussian import GaussianConfig, Weights, bound_logvar, forward, init_weights
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array

TINY = GaussianConfig(members=4, elites=2, hidden=(8, 6), weight_decay=(0.0, 0.0, 0.0))
ELITES = jnp.array([5, 1, 2], jnp.int32)


def told_apart(count: int = 7, width: int = 4, elites: Array = ELITES) -> Ensemble:
    """Members without a hidden layer whose mean is their own number, with a deviation of exp(-5)."""
    bias = jnp.concatenate(
        [jnp.broadcast_to(jnp.arange(count)[:, None], (count, width)), jnp.full((count, width), -10.0)], axis=1
    )
    layer = Layer(jnp.zeros((count, 5, 2 * width)), bias.astype(jnp.float32))
    weights = Weights((layer,), jnp.full(width, -30.0), jnp.full(width, 10.0))
    return Ensemble(weights, Normalizer(jnp.zeros(5), jnp.ones(5)), elites)


def numpy_forward(weights: Weights, member: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    layers = [(np.asarray(w[member], np.float64), np.asarray(b[member], np.float64)) for w, b in weights.layers]
    for weight, bias in layers[:-1]:
        pre = x @ weight + bias
        x = pre / (1 + np.exp(-pre))
    mean, raw = np.split(x @ layers[-1][0] + layers[-1][1], 2, axis=-1)
    low, high = (np.asarray(bound, np.float64) for bound in (weights.min_logvar, weights.max_logvar))
    return mean, low + softplus(high - softplus(high - raw) - low)


def softplus(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0))


def test_forward_equals_a_loop_over_members() -> None:
    weights = init_weights(TINY, 3, 2, jax.random.key(0))
    weights = weights._replace(layers=jax.tree.map(lambda leaf: leaf + 0.1, weights.layers))
    x = np.random.default_rng(0).normal(size=(4, 5, 5))
    mean, logvar = jax.jit(forward)(weights, jnp.asarray(x, jnp.float32))
    for member in range(4):
        expected_mean, expected_logvar = numpy_forward(weights, member, x[member])
        np.testing.assert_allclose(mean[member], expected_mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logvar[member], expected_logvar, rtol=1e-4, atol=1e-5)


def test_predict_standardizes_inputs_alone() -> None:
    """Means and deviations are in raw units: only x = (s, a) is scaled."""
    weights = init_weights(TINY, 3, 2, jax.random.key(1))
    scaler = Normalizer(jnp.array([1.0, -2.0, 0.0, 0.5, 0.0]), jnp.array([2.0, 0.1, 1.0, 1.0, 3.0]))
    obs, action = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)
    made = predict(Ensemble(weights, scaler, jnp.arange(2)), jnp.asarray(obs), jnp.asarray(action[:, :2]))
    x = (np.concatenate([obs, action[:, :2]], axis=1) - np.asarray(scaler.mean)) / np.asarray(scaler.std)
    for member in range(4):
        mean, logvar = numpy_forward(weights, member, x)
        np.testing.assert_allclose(made.mean[member], mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(made.std[member], np.exp(0.5 * logvar), rtol=1e-3, atol=1e-4)


def test_log_variance_stays_within_its_bounds_and_moves_them() -> None:
    raw = jnp.concatenate([jnp.linspace(-1e4, 1e4, 2001), jnp.linspace(-12, 2, 101)])
    bounded = np.asarray(bound_logvar(raw, jnp.float32(-10.0), jnp.float32(0.5)))
    overshoot = np.log1p(np.exp(-10.5))  # the second clamp leaves this much above the upper bound
    assert bounded.min() >= -10.0
    assert bounded.max() <= 0.5 + overshoot + 1e-6
    assert (np.diff(bounded[:2001]) >= 0).all()
    np.testing.assert_allclose(
        float(bound_logvar(jnp.float32(-4.0), jnp.float32(-10.0), jnp.float32(0.5))), -4.0, atol=0.02
    )
    slope = jax.grad(lambda bounds, x: bound_logvar(x, *bounds))
    low, high = slope((jnp.float32(-10.0), jnp.float32(0.5)), jnp.float32(50.0))
    assert (float(low), float(high)) == pytest.approx((0.0, 1.0), abs=1e-4)
    low, high = slope((jnp.float32(-10.0), jnp.float32(0.5)), jnp.float32(-50.0))
    assert (float(low), float(high)) == pytest.approx((1.0, 0.0), abs=1e-4)


def test_initial_weights_are_truncated_normals_of_half_the_usual_scale() -> None:
    config = GaussianConfig(members=3, elites=2, hidden=(400, 100), weight_decay=(0.0, 0.0, 0.0))
    weights = init_weights(config, 30, 10, jax.random.key(0))
    assert [layer.weight.shape for layer in weights.layers] == [(3, 40, 400), (3, 400, 100), (3, 100, 62)]
    for layer, fan_in in zip(weights.layers, (40, 400, 100), strict=True):
        scale = 1 / (2 * np.sqrt(fan_in))
        drawn = np.asarray(layer.weight) / scale
        assert np.abs(drawn).max() <= 2.0 + 1e-5
        assert drawn.std() == pytest.approx(0.8796, rel=0.03)  # a standard normal cut at two deviations
        assert not np.asarray(layer.bias).any()
        assert np.abs(drawn[0] - drawn[1]).mean() > 0.5
    assert weights.min_logvar.tolist() == [-10.0] * 31
    assert weights.max_logvar.tolist() == [0.5] * 31


def test_members_and_pick_select() -> None:
    ensemble = told_apart()
    chosen = ensemble.weights.members(jnp.array([6, 0]))
    assert chosen.layers[0].bias[:, 0].tolist() == [6.0, 0.0]
    made = predict(ensemble, jnp.zeros((3, 3)), jnp.zeros((3, 2)))
    assert pick(made, jnp.array([2, 0, 6])).mean[:, 1].tolist() == [2.0, 0.0, 6.0]


def test_draw_has_noise_on_every_dimension() -> None:
    gaussian = Gaussian(jnp.tile(jnp.array([1.0, -2.0]), (50_000, 1)), jnp.tile(jnp.array([0.5, 3.0]), (50_000, 1)))
    y = np.asarray(draw(gaussian, jax.random.key(0)))
    np.testing.assert_allclose(y.mean(axis=0), [1.0, -2.0], atol=0.06)
    np.testing.assert_allclose(y.std(axis=0), [0.5, 3.0], rtol=0.02)
    assert abs(np.corrcoef(y.T)[0, 1]) < 0.02


def frequencies(drawn: np.ndarray) -> np.ndarray:
    return np.bincount(np.round(drawn).astype(int).ravel(), minlength=7) / drawn.size


def test_sampled_members_are_elites_and_uniform() -> None:
    share = frequencies(np.asarray(sample_members(told_apart(), jax.random.key(0), 30_000)))
    np.testing.assert_allclose(share[np.asarray(ELITES)], 1 / 3, atol=5 * np.sqrt(2 / 9 / 30_000))
    assert share[[0, 3, 4, 6]].sum() == 0


@pytest.mark.parametrize("rows", [1, 2, 7, 9])
def test_dealt_members_are_elites_and_uniform_in_every_row(rows: int) -> None:
    """Also where the elites do not divide the rows: dealing in a fixed order would starve the last elite."""
    ensemble, draws = told_apart(), 6000
    deal = jax.vmap(
        lambda key: predict_random_elite(ensemble, jnp.zeros((rows, 3)), jnp.zeros((rows, 2)), key).mean[:, 0]
    )
    dealt = np.asarray(jax.jit(deal)(jax.random.split(jax.random.key(0), draws)))
    for row in range(rows):
        share = frequencies(dealt[:, row])
        np.testing.assert_allclose(share[np.asarray(ELITES)], 1 / 3, atol=5 * np.sqrt(2 / 9 / draws))
        assert share[[0, 3, 4, 6]].sum() == 0


def test_dealt_rows_get_their_own_prediction() -> None:
    """Every row's Gaussian is that of its own input under one of the elites, for elites that do not divide the rows."""
    config = GaussianConfig(members=5, elites=3, hidden=(8,), weight_decay=(0.0, 0.0))
    scaler = Normalizer(jnp.full(5, 0.3), jnp.full(5, 1.7))
    ensemble = Ensemble(init_weights(config, 3, 2, jax.random.key(0)), scaler, jnp.array([4, 0, 3]))
    obs, action = jax.random.normal(jax.random.key(1), (11, 3)), jax.random.normal(jax.random.key(2), (11, 2))
    every = predict(ensemble, obs, action)
    dealt = predict_random_elite(ensemble, obs, action, jax.random.key(3))
    gap = np.abs(np.asarray(every.mean) - np.asarray(dealt.mean)).max(axis=-1)
    chosen = gap.argmin(axis=0)
    assert gap.min(axis=0).max() < 1e-5
    assert set(chosen.tolist()) <= {4, 0, 3}
    np.testing.assert_allclose(every.std[chosen, np.arange(11)], dealt.std, rtol=1e-4)


def test_one_seed_alone_equals_itself_among_others() -> None:
    weights = jax.vmap(lambda key: init_weights(TINY, 3, 2, key))(jax.random.split(jax.random.key(0), 3))
    scaler = Normalizer(jnp.zeros((3, 5)), jnp.ones((3, 5)))
    ensemble = Ensemble(weights, scaler, jnp.zeros((3, 2), jnp.int32))
    obs, action = jnp.ones((4, 3)), jnp.ones((4, 2))
    together = jax.vmap(predict, in_axes=(0, None, None))(ensemble, obs, action)
    alone = predict(jax.tree.map(lambda leaf: leaf[1], ensemble), obs, action)
    np.testing.assert_allclose(together.mean[1], alone.mean, rtol=1e-5, atol=1e-6)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="5 elites of 3 members"):
        GaussianConfig(members=3)
    with pytest.raises(ValidationError, match="weight_decay has 5 values for 1 hidden layers"):
        GaussianConfig(hidden=(64,))
