"""CROP's reward model: its loss by hand, its known bias, its stopping rule, and many seeds in one loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts.reward_model import (
    RewardConfig,
    RewardEnsemble,
    RewardFit,
    RewardRange,
    bounded_reward,
    conservative_loss,
    predict_reward,
    pretraining,
    record_losses,
    relabel,
    reward_losses,
    split_members,
    unfinished,
)
from offline_mbrl.nn.layers import Layer, init_layers
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.pretraining.fit import fit
from offline_mbrl.types import Array, Key, Transition
from tests.algorithms.toys import data_of, fit_one

pytestmark = pytest.mark.medium

RANGE = RewardRange(jnp.array(-1.0), jnp.array(3.0))
TINY = RewardConfig(hidden=(4,), members=3, elites=2, batch_size=16, random_actions=2, max_epochs=3)


def fit_reward(config: RewardConfig, rows: Transition, key: Key) -> RewardEnsemble:
    model: RewardEnsemble = fit_one(pretraining(config), rows, key)
    return model


def data(n: int, seed: int = 0) -> Transition:
    draw = np.random.default_rng(seed)
    obs = jnp.asarray(draw.normal(size=(n, 2)), jnp.float32)
    action = jnp.asarray(draw.uniform(-1, 1, size=(n, 1)), jnp.float32)
    return Transition(obs, action, obs[:, 0] - jnp.square(action[:, 0]), jnp.ones(n), obs)


def test_loss_by_hand() -> None:
    fitted, reward = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[0.0, 2.0], [0.0, 2.0]])
    at_random = jnp.array([[1.0, 3.0, -1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]])
    # Errors 1/2 and 2; scaled rewards of random actions 1/2, 1, 0, 1/2 and 0.
    expected = [0.5 + 10 * 0.5, 2.0]
    np.testing.assert_allclose(conservative_loss(fitted, reward, at_random, RANGE, 10.0), expected)
    np.testing.assert_allclose(
        jax.jit(conservative_loss, static_argnums=4)(fitted, reward, at_random, RANGE, 10.0), expected
    )


def test_without_weight_it_is_the_squared_error() -> None:
    fitted, reward = jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])
    np.testing.assert_allclose(conservative_loss(fitted, reward, jnp.array([[9.0]]), RANGE, 0.0), [2.5])


def test_optimum_lies_beta_u_over_two_p_range_below_the_reward() -> None:
    # Four actions, seen 8, 4, 3 and 1 times in 16: p = count / 16, u = 1/4.
    count, reward, beta = jnp.array([8, 4, 3, 1]), jnp.array([0.0, 1.0, 2.0, -1.0]), 0.2
    rows = jnp.repeat(jnp.arange(4), count, total_repeat_length=16)

    def loss(table: Array) -> Array:
        return conservative_loss(table[rows][None], reward[rows][None], table[None], RANGE, beta)[0]

    optimum = reward - beta * 0.25 / (2 * (count / 16) * 4.0)
    np.testing.assert_allclose(jax.grad(loss)(optimum), 0.0, atol=1e-6)


def test_prediction_stays_within_the_data() -> None:
    layers = (Layer(jnp.array([[[1.0]], [[-100.0]]]), jnp.array([[0.0], [0.0]])),)
    x = jnp.array([[[0.0], [100.0]], [[0.0], [1.0]]])
    np.testing.assert_allclose(bounded_reward(layers, RANGE, x), [[1.0, 3.0], [1.0, -1.0]], atol=1e-6)


def test_members_see_their_own_rows_and_uniform_actions() -> None:
    """Against a loop over members and random actions, with a scaler that is not the identity."""
    rows = data(12)
    own = jax.tree.map(lambda leaf: leaf.reshape(3, 4, *leaf.shape[1:]), rows)
    scaler = Normalizer(jnp.array([0.5, -1.0, 0.2]), jnp.array([2.0, 3.0, 0.5]))
    layers = init_layers(3, (3, 4, 1), jax.random.key(0))
    config = TINY.model_copy(update={"conservatism": 0.7})
    losses = reward_losses(config, layers, scaler, RANGE, own, jax.random.key(1))
    action = jax.random.uniform(jax.random.key(1), (3, 4, 2, 1), minval=-1.0, maxval=1.0)
    assert action.min() < -0.5

    def value(member: int, obs: Array, a: Array) -> Array:
        alone = jax.tree.map(lambda leaf: leaf[member][None], layers)
        return bounded_reward(alone, RANGE, scaler.apply(jnp.concatenate([obs, a]))[None, None])[0, 0]

    for member in range(3):
        error = [
            float(value(member, own.obs[member, b], own.action[member, b]) - own.reward[member, b]) ** 2
            for b in range(4)
        ]
        pushed = [float(value(member, own.obs[member, b], action[member, b, m])) for b in range(4) for m in range(2)]
        assert losses[member] == pytest.approx(np.mean(error) + 0.7 * (np.mean(pushed) + 1) / 4, rel=1e-4)


def test_each_member_holds_out_rows_of_its_own() -> None:
    held, train = split_members(RewardConfig(members=3, elites=3, holdout_ratio=0.1), 50, jax.random.key(0))
    assert held.shape == (3, 5)
    assert train.shape == (3, 45)
    for member in range(3):
        assert set(np.concatenate([held[member], train[member]]).tolist()) == set(range(50))
    assert len({tuple(sorted(row.tolist())) for row in np.asarray(held)}) == 3
    assert split_members(RewardConfig(), 20, jax.random.key(0))[0].shape == (7, 1)


def waiting(stale: list[int], best: list[float], epochs: int = 0) -> RewardFit:
    layers = (Layer(jnp.ones((2, 1, 1)), jnp.ones((2, 1))),)
    old = jax.tree.map(jnp.zeros_like, layers)
    return RewardFit(layers, (), old, jnp.array(best), jnp.array(stale, jnp.int32), jnp.array(epochs, jnp.int32))


def test_improvement_is_absolute_and_per_member() -> None:
    config = RewardConfig(improvement=1e-4)
    state = record_losses(config, waiting([3, 3], [1.0, 1.0]), jnp.array([0.9998, 0.99995]))
    np.testing.assert_array_equal(state.stale, [0, 4])
    np.testing.assert_allclose(state.best_loss, [0.9998, 1.0])
    np.testing.assert_array_equal(state.best_layers[0].bias, [[1.0], [0.0]])


def test_member_beyond_its_patience_is_done_for_good() -> None:
    config = RewardConfig(patience=30)
    state = record_losses(config, waiting([30, 31], [1.0, 1.0]), jnp.array([0.5, 0.5]))
    np.testing.assert_array_equal(state.stale, [0, 32])
    np.testing.assert_allclose(state.best_loss, [0.5, 1.0])


def test_fit_ends_when_every_member_is_done_or_at_the_cap() -> None:
    config = RewardConfig(patience=30, max_epochs=100)
    assert unfinished(config, waiting([31, 30], [1.0, 1.0]))
    assert not unfinished(config, waiting([31, 31], [1.0, 1.0]))
    assert not unfinished(config, waiting([0, 0], [1.0, 1.0], epochs=100))


def test_members_that_never_improve_stop_after_their_patience() -> None:
    config = TINY.model_copy(update={"patience": 2, "improvement": 1e6, "max_epochs": 50})
    model = fit_reward(config, data(40), jax.random.key(0))
    # The first epoch always counts, since the loss before it is infinite; then three without improvement.
    assert model.epochs == 4


def test_seeds_stop_on_their_own_and_agree_with_training_alone() -> None:
    config = TINY.model_copy(update={"patience": 1, "improvement": 0.1, "max_epochs": 60})
    rows, keys = data(60), jax.random.split(jax.random.key(3), 4)
    together = fit(pretraining(config), data_of(rows), keys)
    assert len(set(together.epochs.tolist())) > 1
    assert together.epochs.max() < 60
    alone = fit_reward(config, rows, keys[2])
    assert alone.epochs == together.epochs[2]
    np.testing.assert_allclose(
        predict_reward(alone, rows.obs, rows.action),
        predict_reward(jax.tree.map(lambda leaf: leaf[2], together), rows.obs, rows.action),
        rtol=1e-4,
        atol=1e-5,
    )


def test_elites_are_the_best_members_and_relabelling_takes_their_mean() -> None:
    rows = data(50)
    model = fit_reward(TINY, rows, jax.random.key(0))
    assert model.layers[0].bias.shape[0] == 2
    assert model.holdout_loss.shape == (3,)
    x = jnp.broadcast_to(model.inputs.apply(jnp.concatenate([rows.obs, rows.action], axis=1)), (2, 50, 3))
    expected = bounded_reward(model.layers, model.range, x).mean(axis=0)
    np.testing.assert_allclose(relabel(model, rows), expected, rtol=1e-5)
    assert relabel(model, rows).min() >= rows.reward.min()
    assert relabel(model, rows).max() <= rows.reward.max()


def test_rewards_that_are_all_equal_do_no_harm() -> None:
    rows = data(40)._replace(reward=jnp.full(40, 2.0))
    model = fit_reward(TINY, rows, jax.random.key(0))
    assert jnp.isfinite(relabel(model, rows)).all()


def test_learned_bias_is_that_of_the_known_density() -> None:
    """Actions of density (1 + 0.8 a) / 2: rare ones are biased down by more, and nothing is without conservatism."""
    draw, n, beta = np.random.default_rng(0), 6000, 0.4
    action = (np.sqrt(0.04 + 3.2 * draw.uniform(size=n)) - 1.0) / 0.8  # inverse of the distribution function
    assert -1 <= action.min() < action.max() <= 1
    zero, taken = jnp.zeros((n, 1)), jnp.asarray(action, jnp.float32)
    rows = Transition(zero, taken[:, None], taken, zero[:, 0], zero)  # the action is the reward
    settings = {"hidden": (32, 32), "members": 3, "elites": 3, "learning_rate": 3e-3, "random_actions": 4}
    config = RewardConfig.model_validate(settings | {"max_epochs": 100, "weight_decay": 0.0})
    at = np.array([-0.7, -0.3, 0.0, 0.4, 0.7])
    width, density = action.max() - action.min(), (1 + 0.8 * at) / 2
    for weight in (beta, 0.0):
        model = fit_reward(config.model_copy(update={"conservatism": weight}), rows, jax.random.key(0))
        bias = predict_reward(model, zero[:5], jnp.asarray(at[:, None], jnp.float32)) - at
        np.testing.assert_allclose(bias, -weight * 0.5 / (2 * density * width), atol=0.03)
