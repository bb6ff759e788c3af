"""CROP's target, actor and temperature by hand, its schedule of steps, and where its rewards go."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.reward_model import RewardEnsemble, RewardRange, predict_reward, pretraining
from offline_mbrl.algorithms.presets import preset_names, resolve
from offline_mbrl.algorithms.systems.crop import (
    DEFINITION,
    CROPConfig,
    CROPState,
    actor_loss,
    bellman_target,
    bounded_value,
    build,
    conservative_model,
    make,
    temperature_loss,
)
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models import gaussian
from offline_mbrl.dynamics.models.gaussian import GaussianConfig, Weights, init_weights
from offline_mbrl.dynamics.rollout import ensemble_model
from offline_mbrl.keys import stream
from offline_mbrl.nn.layers import Layer, init_layers
from offline_mbrl.nn.networks import Params
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Data, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(3, 2)
WORLD = GaussianConfig(hidden=(4,), weight_decay=(0.0, 0.0), members=3, elites=2)
RANGE = RewardRange(jnp.array(-2.0), jnp.array(3.0))


def config(**settings: object) -> CROPConfig:
    reward = {"hidden": (4,), "members": 3, "elites": 2, "random_actions": 2, "max_epochs": 2}
    base = {
        "hidden": (8,),
        "critic_hidden": (16,),
        "batch_size": 8,
        "rollout_batch": 4,
        "rollout_every": 2,
        "horizon": 2,
    }
    return CROPConfig.model_validate(
        base | {"reward": reward, "dynamics": {"hidden": (4,), "weight_decay": (0, 0)}} | settings
    )


def rows(n: int, seed: int = 0) -> Transition:
    drawn = jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, size=(n, 9)), jnp.float32)
    return Transition(drawn[:, :3], drawn[:, 3:5], 5 * drawn[:, 5], jnp.ones(n), drawn[:, 6:])


def world() -> Ensemble:
    return toys.untrained_world(WORLD, 3, 2)


def reward_model() -> RewardEnsemble:
    layers = init_layers(2, (5, 4, 1), jax.random.key(1))
    return RewardEnsemble(layers, Normalizer(jnp.zeros(5), jnp.ones(5)), RANGE, jnp.array(1), jnp.zeros(3))


def optimizer_steps(trained: TrainState) -> int:
    """Adam's own count."""
    return next(int(leaf) for leaf in jax.tree.leaves(trained.opt_state) if leaf.dtype == jnp.int32)


def start(settings: CROPConfig) -> tuple[CROPState, Data]:
    data = toys.data_of(rows(30))
    reward = toys.fit_one(pretraining(settings.reward), data.transitions, jax.random.key(0))
    init = jax.jit(build(PROBLEM, settings, 10).init)
    return init(jax.random.key(0), data, toys.fitted(world(), reward=reward)), data


def test_value_is_bounded_by_what_the_datas_rewards_can_sum_to() -> None:
    value = bounded_value(jnp.array([-1000.0, 5.0, 1000.0]), RANGE, 0.9)
    np.testing.assert_allclose(value, [-20.0, 5.0, 30.0], rtol=1e-6)


def critic_with_bias(bias: float) -> Params:
    """Q_k(s, a) = bias."""
    return toys.linear_critics([[0.0] * 5] * 2, [bias] * 2)


@pytest.mark.parametrize(("bias", "bounded", "expected"), [(1e6, True, 300.0), (-1e6, True, -200.0), (1e6, False, 1e6)])
def test_target_by_hand(bias: float, bounded: bool, expected: float) -> None:
    settings = config(critic_hidden=(), bound_target=bounded, temperature=1.0)
    agent = make(PROBLEM, settings, 1)
    learner = sac.init(agent, jax.random.key(0)).replace(target=critic_with_bias(bias))
    batch = rows(2)._replace(reward=jnp.array([1.0, 2.0]), discount=jnp.array([1.0, 0.0]))
    y = bellman_target(settings, agent, learner, RANGE, batch, jax.random.key(1))
    np.testing.assert_allclose(y, [1.0 + 0.99 * expected, 2.0], rtol=1e-4)


def test_entropy_is_inside_the_bounds() -> None:
    # A temperature so high that the entropy term alone passes any bound.
    settings = config(critic_hidden=(), temperature=1e6)
    agent = make(PROBLEM, settings, 1)
    learner = sac.init(agent, jax.random.key(0)).replace(target=critic_with_bias(0.0))
    y = bellman_target(settings, agent, learner, RANGE, rows(50), jax.random.key(1))
    assert jnp.abs((y - rows(50).reward) / 0.99).max() <= 300.0 + 1e-3


def test_actor_pays_for_large_means_and_log_stds() -> None:
    settings, free = config(action_l2=0.5, log_std_l2=0.25), config(action_l2=0.0, log_std_l2=0.0)
    agent = make(PROBLEM, settings, 1)
    state, obs, key = sac.init(agent, jax.random.key(0)), rows(6).obs, jax.random.key(1)
    mean, log_std = (np.asarray(part) for part in sac.policy_parameters(agent, state.actor.params, obs))
    paid, log_prob = actor_loss(settings, agent, state.actor.params, state, obs, key)
    unpaid, _ = actor_loss(free, agent, state.actor.params, state, obs, key)
    assert paid - unpaid == pytest.approx(0.5 * (mean**2).mean() + 0.25 * (log_std**2).mean(), rel=1e-4)
    plain, plain_log_prob = sac.actor_loss(agent, state.actor.params, state, obs, key)
    assert unpaid == pytest.approx(float(plain), rel=1e-5)
    assert log_prob == pytest.approx(float(plain_log_prob), rel=1e-5)


def test_gradient_of_the_temperature_goes_through_the_exponential() -> None:
    grad = jax.grad(temperature_loss)(jnp.log(0.25), jnp.array(1.5), -2.0)
    assert grad == pytest.approx(-0.25 * (1.5 - 2.0))


def test_networks_have_the_widths_and_the_clamp_asked_for() -> None:
    agent = make(PROBLEM, config(), 1)
    state = sac.init(agent, jax.random.key(0))
    assert state.critic.params["MLP_0"]["Dense_0"]["kernel"].shape == (2, 5, 16)
    assert state.actor.params["MLP_0"]["Dense_0"]["kernel"].shape == (3, 8)
    assert agent.actor.log_std_bounds == (-25.0, 10.0)


def test_model_rows_carry_the_reward_elites_mean_without_noise() -> None:
    base, reward = ensemble_model(world(), PROBLEM.terminates), reward_model()
    obs, action, key = rows(5).obs, rows(5).action, jax.random.key(2)
    made, plain = conservative_model(base, reward)(obs, action, key), base(obs, action, key)
    np.testing.assert_allclose(made.reward, predict_reward(reward, obs, action), rtol=1e-6)
    np.testing.assert_array_equal(made.next_obs, plain.next_obs)
    assert not jnp.allclose(made.reward, plain.reward)


def test_data_rows_are_relabelled_once_or_not_at_all() -> None:
    state, data = start(config())
    np.testing.assert_allclose(
        state.rewards, predict_reward(state.reward, data.transitions.obs, data.transitions.action), rtol=1e-5, atol=1e-5
    )
    untouched, data = start(config(relabel=False))
    np.testing.assert_array_equal(untouched.rewards, data.transitions.reward)


def test_one_update_is_two_critic_steps_on_rows_of_their_own_and_one_of_the_actor() -> None:
    settings = config(temperature_lr=1e-2)
    algorithm = build(PROBLEM, settings, 10)
    state, data = start(settings)
    state, metrics = jax.jit(algorithm.refresh)(state, data, jax.random.key(1)) if algorithm.refresh else (state, {})
    assert metrics["reward_epochs"] == 2.0
    batch = jax.jit(algorithm.sample)(state, data, jax.random.key(2))
    assert batch.obs.shape == (2, 8, 3)
    assert not jnp.array_equal(batch.obs[0], batch.obs[1])
    assert np.isin(batch.reward[:, :4], state.rewards).all()  # data rows first, with their new rewards
    moved, metrics = jax.jit(algorithm.update)(state, batch, jax.random.key(3))
    assert optimizer_steps(moved.learner.critic) == 2
    assert optimizer_steps(moved.learner.actor) == 1
    assert optimizer_steps(moved.learner.log_alpha) == 1
    assert all(jnp.isfinite(value) for value in metrics.values())

    agent, learner, key = make(PROBLEM, settings, 10), state.learner, jax.random.key(3)
    for turn, target_key in enumerate(jax.random.split(stream(key, "target"), 2)):
        part = jax.tree.map(lambda leaf, turn=turn: leaf[turn], batch)
        y = bellman_target(settings, agent, learner, state.reward.range, part, target_key)
        loss = partial(sac.critic_loss, agent, batch=part, target=y)
        learner = sac.update_target(agent, sac.update_critic(agent, learner, loss)[0])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), moved.learner.target, learner.target
    )


def test_coefficient_one_inflates_the_variance_by_two() -> None:
    """Errors of +-e leave the optimum e^2 / c: with log sigma counted once (c = 1/2) twice the true variance."""
    error = 0.3
    x, y = jnp.zeros((1, 4, 1)), jnp.array([[[error], [-error], [error], [-error]]])

    def gradient(logvar: float, weight: float) -> Array:
        bias = jnp.array([[0.0, logvar]])
        weights = Weights((Layer(jnp.zeros((1, 1, 2)), bias),), jnp.array([-60.0]), jnp.array([60.0]))
        return jax.grad(gaussian.likelihood_loss)(weights, x, y, weight).layers[0].bias[0, 1]

    assert gradient(float(np.log(2 * error**2)), 0.5) == pytest.approx(0.0, abs=1e-5)
    assert gradient(float(np.log(error**2)), 1.0) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("trained", [True, False])
def test_bounds_of_the_variance_move_only_when_trained(trained: bool) -> None:
    settings = WORLD.model_copy(update={"logvar_trained": trained})
    weights = init_weights(settings, 3, 2, jax.random.key(0))
    grads = jax.grad(gaussian.loss, argnums=1)(settings, weights, jnp.ones((3, 4, 5)), jnp.ones((3, 4, 4)))
    assert bool(grads.min_logvar.any() and grads.max_logvar.any()) is trained
    assert grads.layers[0].weight.any()


def test_transition_model_has_the_codes_bounds_and_coefficient() -> None:
    settings = CROPConfig().dynamics
    assert isinstance(settings, GaussianConfig)
    assert settings.logvar_init == (2 * -5.0, 2 * 0.25)
    assert not settings.logvar_trained
    assert settings.logvar_weight == 0.5


@pytest.mark.parametrize("members", [3, 5, 7])
def test_ensembles_of_other_sizes(members: int) -> None:
    elites = min(members, 5)
    sizes = {"reward.members": members, "reward.elites": elites, "dynamics.members": members, "dynamics.elites": elites}
    settings = resolve(DEFINITION, "hopper-medium", None, sizes).config
    assert isinstance(settings, CROPConfig)
    tiny = settings.reward.model_copy(update={"hidden": (4,), "max_epochs": 1, "random_actions": 2})
    reward = toys.fit_one(pretraining(tiny), rows(30), jax.random.key(0))
    assert (reward.holdout_loss.shape, reward.layers[0].bias.shape[0]) == ((members,), elites)
    assert DEFINITION.pretraining(PROBLEM, settings, 1)["dynamics"].config == settings.dynamics
    assert settings.dynamics.members == members


@pytest.mark.parametrize("task", TASKS)
def test_presets_keep_256_data_rows_in_a_batch(task: str) -> None:
    assert preset_names("crop") == ["v1"]
    for preset in (None, "v1"):
        resolved = resolve(DEFINITION, task, preset)
        assert isinstance(resolved.config, CROPConfig)
        assert resolved.config.real_rows == 256
        dynamics = resolved.config.dynamics
        assert isinstance(dynamics, GaussianConfig)
        assert not dynamics.logvar_trained  # naming one setting of the record keeps the others
        assert "reward.conservatism" in resolved.sources


def test_sampled_actions_follow_the_policy_and_differ_between_observations() -> None:
    algorithm = build(PROBLEM, config(score_samples=True), 10)
    assert list(algorithm.variants) == ["mean actions", "sampled actions"]
    assert build(PROBLEM, config(), 10).variants == {}
    agent = make(PROBLEM, config(), 10)
    state = SimpleNamespace(learner=sac.init(agent, jax.random.key(0)))
    obs = jnp.zeros((4000, 3)).at[:, 0].set(jnp.linspace(-1e-3, 1e-3, 4000))  # one law, as good as
    sampled = jax.vmap(lambda o: algorithm.variants["sampled actions"](state, o, jax.random.key(0), True))(obs)
    mean, log_std = sac.policy_parameters(agent, state.learner.actor.params, obs)
    u = (jnp.arctanh(jnp.clip(sampled, -0.9999999, 0.9999999)) - mean) / jnp.exp(log_std)
    np.testing.assert_allclose(jnp.median(u, axis=0), 0.0, atol=0.08)
    np.testing.assert_allclose(jnp.median(jnp.abs(u), axis=0), 0.6745, atol=0.05)
