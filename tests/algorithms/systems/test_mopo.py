"""MOPO: the stored reward is lowered by exactly lambda u, and an automatic lambda holds E[lambda u]."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.systems import mopo
from offline_mbrl.algorithms.systems.mopo import MOPOConfig, MOPOState
from offline_mbrl.dynamics.ensemble import Ensemble, draw, pick, predict, sample_members
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.dynamics.rollout import Rollout
from offline_mbrl.dynamics.uncertainty import PENALTIES, PenaltyName
from offline_mbrl.errors import UserError
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Metrics, Problem, Transition
from tests.algorithms import toys

TINY = GaussianConfig(members=3, elites=2, hidden=(8,), weight_decay=(0.0, 0.0))
PROBLEM = Problem(3, 2, lambda obs: jnp.abs(obs).max(-1) > 3)
DATA = toys.data_of(toys.random_rows(50, 3, 2))


def ensemble() -> Ensemble:
    return toys.untrained_world(TINY, 3, 2)


def refreshed(times: int = 1, **settings: Any) -> tuple[MOPOState, Metrics]:
    config = MOPOConfig(hidden=(8,), rollout_batch=20, horizon=4, retain=2, dynamics=TINY, **settings)
    made = mopo.build(PROBLEM, config, 100)
    assert made.refresh is not None
    state = made.init(jax.random.key(0), DATA, toys.fitted(ensemble()))
    for turn in range(times):
        state, metrics = jax.jit(made.refresh)(state, DATA, jax.random.key(turn))
    return state, metrics


def imagined(weights: list[float], reward: list[list[float]], u: list[list[float]]) -> Array:
    shape = (len(reward), len(reward[0]))
    rows = Transition(
        jnp.zeros((*shape, 1)), jnp.zeros((*shape, 1)), jnp.array(reward), jnp.ones(shape), jnp.zeros((*shape, 1))
    )
    return mopo.penalize(Rollout(rows, jnp.ones(shape, bool), jnp.array(u)), jnp.array(weights)).rows.reward


def test_penalty_by_hand_plain_jitted_and_over_seeds() -> None:
    arguments = [2.0, 0.5], [[1.0, 0.0], [3.0, -1.0]], [[0.25, 1.0], [2.0, 4.0]]
    expected = [[0.5, -2.0], [2.0, -3.0]]
    assert imagined(*arguments).tolist() == expected
    made = Rollout(
        Transition(
            jnp.zeros((2, 2, 1)), jnp.zeros((2, 2, 1)), jnp.array(arguments[1]), jnp.ones((2, 2)), jnp.zeros((2, 2, 1))
        ),
        jnp.ones((2, 2), bool),
        jnp.array(arguments[2]),
    )
    assert jax.jit(mopo.penalize)(made, jnp.array(arguments[0])).rows.reward.tolist() == expected
    several = jax.vmap(mopo.penalize, in_axes=(None, 0))(made, jnp.array([[2.0, 0.5], [0.0, 0.0]])).rows.reward
    assert several.tolist() == [expected, arguments[1]]


@pytest.mark.medium
@pytest.mark.parametrize("penalty", ["max_aleatoric", "max_pair", "individual"])
def test_the_stored_reward_is_lower_by_exactly_lambda_u(penalty: str) -> None:
    """The same draws with lambda 0, 1 and 3: the stored rows differ in nothing but the reward, by u and 3 u."""
    free, low, high = (refreshed(penalty=penalty, penalty_weight=weight)[0].imagined for weight in (0.0, 1.0, 3.0))
    size = int(free.size)
    assert 0 < size < 80  # some branches ended
    for name in ("obs", "action", "discount", "next_obs"):
        np.testing.assert_array_equal(getattr(free.rows, name), getattr(high.rows, name))
    u = np.asarray(free.rows.reward - low.rows.reward)[:size]
    assert (u > 0).all()
    np.testing.assert_allclose(np.asarray(free.rows.reward - high.rows.reward)[:size], 3 * u, rtol=1e-4, atol=1e-5)
    assert not np.asarray(high.rows.reward)[size:].any()


@pytest.mark.medium
@pytest.mark.parametrize("penalty", get_args(PenaltyName))
def test_every_penalty_can_be_asked_for(penalty: str) -> None:
    config = resolve(mopo.DEFINITION, "hopper-medium", None, {"penalty": penalty, "rollout_batch": 20}).config
    assert isinstance(config, MOPOConfig)
    made = mopo.build(PROBLEM, config.model_copy(update={"dynamics": TINY}), 100)
    assert made.refresh is not None
    state = jax.eval_shape(made.init, jax.random.key(0), DATA, toys.fitted(ensemble()))
    _, metrics = jax.eval_shape(made.refresh, state, DATA, jax.random.key(0))
    assert metrics["uncertainty"].shape == ()


@pytest.mark.medium
def test_refreshes_fill_the_ring_and_report_what_they_stored() -> None:
    state, metrics = refreshed(times=3, penalty_weight=2.0)
    stored = state.imagined
    assert int(stored.size) <= stored.capacity == 2 * 20 * 4
    assert np.asarray(stored.rows.reward)[: int(stored.size)].all()
    assert float(metrics["penalty_weight"]) == 2.0
    assert (
        float(metrics["rollout_reward_min"]) <= float(metrics["rollout_reward"]) <= float(metrics["rollout_reward_max"])
    )


def test_one_step_of_the_automatic_weight_by_hand() -> None:
    """d/dl [l sg(lambda u - goal)] = lambda u - goal; Adam's first step is its rate against the sign."""
    optimizer = optax.adam(0.1)
    for u, expected in ((10.0, -0.1), (0.01, 0.1)):
        tuned, used = mopo.tune(TrainState.create(jnp.zeros(()), optimizer), jnp.array([u]), 1.5, optimizer)
        assert used.tolist() == [1.0]
        assert float(tuned.params) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scale", [0.05, 20.0])
def test_the_automatic_weight_brings_the_mean_penalty_to_its_goal(scale: float) -> None:
    optimizer = optax.adam(0.05)
    noise = jax.random.uniform(jax.random.key(0), (3000,), minval=0.5, maxval=1.5)
    _, weight = jax.jit(lambda state, u: mopo.tune(state, u, 1.5, optimizer))(
        TrainState.create(jnp.zeros(()), optimizer), scale * noise
    )
    held = np.asarray(weight * scale * noise)[-1000:]
    assert held.mean() == pytest.approx(1.5, rel=0.1)


@pytest.mark.medium
def test_the_automatic_weight_moves_with_refreshes() -> None:
    state, metrics = refreshed(times=3, tuning="automatic", penalty_goal=1e-3)
    assert float(state.log_weight.params) < 0
    assert float(metrics["penalty_weight"]) < 1


def test_presets_hold_the_published_values() -> None:
    """Horizon and lambda of OfflineRL-Kit's MOPO on D4RL v2, and of the paper's code where the Kit has none."""
    published = {
        "halfcheetah-random": (5, 0.5),
        "hopper-random": (5, 1.0),
        "walker2d-random": (1, 1.0),
        "halfcheetah-medium": (5, 0.5),
        "hopper-medium": (5, 5.0),
        "walker2d-medium": (5, 0.5),
        "halfcheetah-medium-replay": (5, 0.5),
        "hopper-medium-replay": (5, 2.5),
        "walker2d-medium-replay": (1, 2.5),
        "halfcheetah-medium-expert": (5, 2.5),
        "hopper-medium-expert": (5, 5.0),
        "walker2d-medium-expert": (1, 2.5),
    }
    for task, (horizon, weight) in published.items():
        config = resolve(mopo.DEFINITION, task).config
        assert isinstance(config, MOPOConfig)
        assert (config.horizon, config.penalty_weight) == (horizon, weight), task
        assert (config.rollout_batch, config.rollout_every, config.retain, config.real_rows) == (50_000, 1000, 5, 12)


def test_tuning_cannot_start_at_zero() -> None:
    with pytest.raises(UserError, match="cannot start at 0"):
        mopo.build(PROBLEM, MOPOConfig(penalty_weight=0.0, tuning="automatic"), 100)


@pytest.mark.medium
@pytest.mark.parametrize("penalty", ["max_pair", "individual", "loo_kl", "ll_var"])
def test_a_matched_penalty_costs_on_the_data_what_mopo_s_own_does(penalty: PenaltyName) -> None:
    rows = toys.random_rows(4000, 3, 2)
    scale = mopo.scale_to_match(PENALTIES[penalty], ensemble(), rows, jax.random.key(2))
    prediction = predict(ensemble(), rows.obs, rows.action)
    member = sample_members(ensemble(), jax.random.key(3), 4000)
    drawn = draw(pick(prediction, member), jax.random.key(4))
    own, other = (PENALTIES[name](prediction, member, drawn).mean() for name in ("max_aleatoric", penalty))
    assert float(scale * other) == pytest.approx(float(own), rel=0.1)


@pytest.mark.medium
def test_a_matched_lambda_is_the_published_one_for_mopo_s_own_penalty() -> None:
    _, metrics = refreshed(tuning="matched", penalty_weight=2.5)
    assert float(metrics["penalty_weight"]) == pytest.approx(2.5, rel=1e-5)
