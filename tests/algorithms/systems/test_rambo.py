"""RAMBO's adversary: density, gradient, order of the phases, and the space in which the model lives."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.presets import preset_names, resolve
from offline_mbrl.algorithms.systems.rambo import (
    DEFINITION,
    RAMBO,
    RAMBOConfig,
    RAMBOState,
    Score,
    advantage,
    adversary_loss,
    adversary_phase,
    imagine,
    mixture_log_density,
    pretraining,
    whiten,
)
from offline_mbrl.dynamics import fit
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian
from offline_mbrl.dynamics.models import gaussian
from offline_mbrl.dynamics.models.gaussian import Weights
from offline_mbrl.dynamics.registry import pretraining_of
from offline_mbrl.dynamics.rollout import ensemble_model, standardized_model
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Data, Problem, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: obs[..., 0] > 100)
KEY = jax.random.key(4)
DYNAMICS = {"members": 3, "elites": 2, "hidden": (8,), "weight_decay": (1e-4, 1e-4), "batch_size": 32}


def config(**settings: object) -> RAMBOConfig:
    base = {"hidden": (8,), "batch_size": 32, "rollout_batch": 8, "horizon": 3, "dynamics": DYNAMICS}
    base |= {"pretrain_epochs": 0, "adversary_steps": 5, "rollout_every": 5}
    return RAMBOConfig.model_validate(base | settings)


def rows(count: int = 200) -> Transition:
    """s' = s + (a, 0) + noise in units of 10, r = s'_0 / 10."""
    keys = jax.random.split(KEY, 3)
    obs = 10 * jax.random.normal(keys[0], (count, 2)) + jnp.array([5.0, 0.0])
    action = jax.random.uniform(keys[1], (count, 1), minval=-1.0)
    next_obs = obs + 10 * action * jnp.array([1.0, 0.0]) + 2 * jax.random.normal(keys[2], (count, 2))
    return Transition(obs, action, next_obs[:, 0] / 10, jnp.ones(count), next_obs)


def data() -> Data:
    return toys.data_of(rows())


def ensemble(settings: RAMBOConfig) -> Ensemble:
    return toys.untrained_world(settings.dynamics, 2, 1, KEY).replace(elites=jnp.array([0, 2], jnp.int32))


def likelihood_batch(settings: RAMBOConfig, world: Ensemble) -> tuple[Array, Array]:
    scaled = fit.standardize(Normalizer.fit(rows().obs), rows())
    x, y = world.inputs.apply(fit.inputs(scaled)), fit.targets(scaled)
    count = settings.dynamics.members
    return jnp.broadcast_to(x, (count, *x.shape)), jnp.broadcast_to(y, (count, *y.shape))


def test_log_density_of_a_sharp_mixture_equals_float64() -> None:
    # Densities of e^100: exponentiated in float32 they are infinite.
    generator = np.random.default_rng(0)
    mean, std = 1e-5 * generator.normal(size=(3, 4, 10)), np.full((3, 4, 10), 2e-5)
    std[0] *= 3
    y = 1e-5 * generator.normal(size=(4, 10))
    each = (-0.5 * ((y - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi)).sum(-1)
    expected = np.log(np.exp(each).mean(axis=0))
    assert expected.min() > 90
    prediction = Gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32))
    for density in (mixture_log_density, jax.jit(mixture_log_density)):
        np.testing.assert_allclose(density(prediction, jnp.asarray(y, jnp.float32)), expected, rtol=1e-4)


def test_advantages_are_whitened() -> None:
    found = whiten(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, np.array([-1.0, 0.0, 1.0]) / math.sqrt(2 / 3), rtol=1e-4)
    np.testing.assert_array_equal(whiten(jnp.full(4, 7.0)), 0.0)


def test_advantage_by_hand() -> None:
    # pi(s) = tanh(0) = 0 and Q(s, a) = s_0 + 2 a for both critics.
    settings = config(hidden=(), discount=0.5)
    agent = sac.make(PROBLEM, settings, 1)
    learner = sac.init(agent, KEY)
    critic = toys.linear_critics([[1.0, 0.0, 2.0]] * 2, [0.0, 1.0])
    learner = learner.replace(
        critic=learner.critic.replace(params=critic),
        actor=learner.actor.replace(params=jax.tree.map(jnp.zeros_like, learner.actor.params)),
    )
    batch = Transition(
        jnp.array([[1.0, 0.0], [1.0, 0.0]]),
        jnp.array([[0.5], [0.5]]),
        jnp.array([3.0, 3.0]),
        jnp.array([1.0, 0.0]),
        jnp.array([[4.0, 0.0], [4.0, 0.0]]),
    )
    np.testing.assert_allclose(advantage(agent, learner, batch), [3 + 0.5 * 4 - 2, 3 - 2], rtol=1e-6)


def test_without_weight_the_gradient_is_maximum_likelihoods() -> None:
    settings = config(adversary_weight=0.0)
    world = ensemble(settings)
    x, y = likelihood_batch(settings, world)
    score = Score(rows().obs[:5], rows().action[:5], jnp.ones((5, 3)), jnp.arange(5.0))
    found, _ = jax.grad(adversary_loss, argnums=1, has_aux=True)(settings, world.weights, world, score, x, y)
    expected = jax.grad(gaussian.loss, argnums=1)(settings.dynamics, world.weights, x, y)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_adversary_makes_good_outcomes_less_likely() -> None:
    # One member whose Gaussian has mean 0 and std 1 everywhere. The gradient of mean(A log N(y; mu, 1)) in mu is
    # mean(A (y - mu)): outcomes +1 with A = 1 and -1 with A = -1 give +1, so that descent moves mu below 0.
    dynamics = DYNAMICS | {"members": 1, "elites": 1, "hidden": (), "weight_decay": (0.0,), "logvar_penalty": 0.0}
    settings = config(adversary_weight=1.0, dynamics=dynamics)
    world = toys.linear_world(jnp.zeros((1, 3, 3)), log_std=0.0)
    outcome = jnp.array([[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]])
    score = Score(jnp.zeros((2, 2)), jnp.zeros((2, 1)), outcome, jnp.array([1.0, -1.0]))
    x, y = jnp.zeros((1, 2, 3)), jnp.zeros((1, 2, 3))
    grads, metrics = jax.grad(adversary_loss, argnums=1, has_aux=True)(settings, world.weights, world, score, x, y)
    np.testing.assert_allclose(grads.layers[0].bias[0, :3], [1.0, 1.0, 0.0], atol=1e-5)
    assert float(metrics["adversary_loss"]) == pytest.approx(0.0, abs=1e-5)  # both outcomes are equally likely


def test_members_that_are_no_elites_feel_the_likelihood_alone() -> None:
    settings = config(adversary_weight=1.0)
    world = ensemble(settings)
    x, y = likelihood_batch(settings, world)
    score = Score(jnp.ones((5, 2)), jnp.ones((5, 1)), jnp.ones((5, 3)), jnp.arange(5.0))
    found, _ = jax.grad(adversary_loss, argnums=1, has_aux=True)(settings, world.weights, world, score, x, y)
    plain = jax.grad(gaussian.loss, argnums=1)(settings.dynamics, world.weights, x, y)
    same = [bool(jnp.allclose(found.layers[-1].bias[i], plain.layers[-1].bias[i], atol=1e-7)) for i in range(3)]
    assert same == [False, True, False]


def test_no_gradient_goes_through_the_sample() -> None:
    settings = config()
    agent, world = sac.make(PROBLEM, settings, 1), ensemble(settings)
    learner, normalizer = sac.init(agent, KEY), toys.identity(2)

    def total(weights: Weights) -> Array:
        score, _, _ = imagine(agent, learner, world.replace(weights=weights), normalizer, jnp.ones((4, 2)), KEY)
        return score.outcome.sum() + score.advantage.sum()

    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in jax.tree.leaves(jax.grad(total)(world.weights)))


def test_the_model_speaks_the_tasks_units() -> None:
    settings = config()
    world, normalizer = ensemble(settings), Normalizer(jnp.array([95.0, 1.0]), jnp.array([10.0, 0.5]))
    obs, action = jnp.array([[95.0, 1.0], [120.0, 0.0]]), jnp.array([[0.1], [0.2]])
    found = standardized_model(world, normalizer, PROBLEM.terminates)(obs, action, KEY)
    inner = ensemble_model(world, PROBLEM.terminates)(normalizer.apply(obs), action, KEY)
    np.testing.assert_allclose(found.next_obs, normalizer.invert(inner.next_obs), rtol=1e-5)
    np.testing.assert_array_equal(found.discount, 1.0 - (found.next_obs[:, 0] > 100))
    assert float(found.discount.min()) == 0  # in z-scores nothing comes near the limit of 100


def test_a_standardized_fit_is_the_fit_of_standardized_rows() -> None:
    key = jax.random.key(0)
    settings = config().dynamics.model_copy(update={"max_epochs": 1})
    plain = settings.model_copy(update={"standardize": False})
    found = toys.fit_one(pretraining_of(settings, 2, 1), rows(), key)
    scaled = fit.standardize(Normalizer.fit(rows().obs), rows())
    expected = toys.fit_one(pretraining_of(plain, 2, 1), scaled, key)
    same = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(same, found.ensemble.weights, expected.ensemble.weights)


def state_of(settings: RAMBOConfig, optimizer: optax.GradientTransformation) -> RAMBOState:
    start: RAMBOState = DEFINITION.build(PROBLEM, settings, 10).init(KEY, data(), toys.fitted(ensemble(settings)))
    return start.replace(model_opt_state=optimizer.init(start.ensemble.weights))


def test_the_adversary_lowers_the_models_value_at_a_bounded_cost_in_likelihood() -> None:
    def trained(weight: float) -> tuple[float, float]:
        settings = config(adversary_weight=weight, adversary_steps=300, adversary_lr=3e-3)
        agent, optimizer = sac.make(PROBLEM, settings, 1), optax.adam(settings.adversary_lr)
        state = state_of(settings, optimizer)
        (weights, _), _ = jax.jit(partial(adversary_phase, RAMBO(settings, agent, optimizer)))(state, data(), KEY)
        world = state.ensemble.replace(weights=weights)
        starts = jnp.tile(state.normalizer.apply(rows().obs), (20, 1))
        _, gain, _ = imagine(agent, state.learner, world, state.normalizer, starts, KEY)
        return float(gain.mean()), float(gaussian.loss(settings.dynamics, weights, *likelihood_batch(settings, world)))

    plain_value, plain_loss = trained(0.0)
    value, loss = trained(1.0)
    assert value < plain_value - 0.1
    assert plain_loss < loss < plain_loss + 1.0


def test_the_phase_before_the_first_rollouts_leaves_no_trace() -> None:
    algorithm = DEFINITION.build(PROBLEM, config(), 10)
    assert algorithm.refresh is not None
    refresh = jax.jit(algorithm.refresh)
    start = algorithm.init(KEY, data(), toys.fitted(ensemble(config())))
    first, _ = refresh(start, data(), KEY)
    jax.tree.map(np.testing.assert_array_equal, first.ensemble, start.ensemble)
    jax.tree.map(np.testing.assert_array_equal, first.model_opt_state, start.model_opt_state)
    assert int(first.imagined.size) > 0
    second, metrics = refresh(first, data(), KEY)
    assert int(second.model_opt_state[0].count) == 5
    assert float(jnp.abs(second.ensemble.weights.layers[0].weight - first.ensemble.weights.layers[0].weight).max()) > 0
    np.testing.assert_array_equal(second.ensemble.elites, first.ensemble.elites)
    assert {"adversary_loss", "model_loss", "advantage"} <= set(metrics)
    # Imagined rows are kept in the task's units, batches are z-scored.
    batch = algorithm.sample(second, data(), KEY)
    assert float(jnp.abs(batch.obs).max()) < 6 < float(jnp.abs(second.imagined.rows.obs).max())


def test_without_weight_there_is_no_adversary() -> None:
    algorithm = DEFINITION.build(PROBLEM, config(adversary_weight=0.0), 10)
    assert algorithm.refresh is not None
    state = jax.eval_shape(algorithm.init, KEY, data(), toys.fitted(ensemble(config())))
    _, metrics = jax.eval_shape(algorithm.refresh, state, data(), KEY)
    assert "adversary_loss" not in metrics


def test_pre_training_clones_the_data_and_keeps_its_moments() -> None:
    settings = config(pretrain_epochs=60, actor_lr=3e-3, hidden=(32,))
    agent = sac.make(PROBLEM, settings, 10)
    obs = jax.random.normal(KEY, (200, 2))
    batch = Transition(10 * obs, 0.5 * jnp.tanh(obs[:, :1]), jnp.zeros(200), jnp.ones(200), obs)
    normalizer = Normalizer.fit(batch.obs)
    actor = toys.fit_one(pretraining(PROBLEM, settings, 10)["clone"], batch, KEY)
    action = sac.act(agent, actor.params, normalizer.apply(batch.obs), KEY, True)
    assert float(jnp.abs(action - batch.action).mean()) < 0.1
    assert int(actor.opt_state[0].count) == 60 * 7


@pytest.mark.parametrize("preset", [None, *preset_names("rambo")])
def test_every_preset_resolves_on_every_task(preset: str | None) -> None:
    for task in TASKS:
        settings = resolve(DEFINITION, task, preset).config
        assert isinstance(settings, RAMBOConfig)
        assert settings.dynamics.learning_rate == 3e-4
        assert settings.adversary_steps == settings.rollout_every


def test_naming_one_setting_of_the_ensemble_keeps_the_others() -> None:
    settings = resolve(DEFINITION, "hopper-medium", None, {"dynamics.max_epochs": 3}).config
    assert isinstance(settings, RAMBOConfig)
    assert (settings.dynamics.max_epochs, settings.dynamics.patience, settings.dynamics.standardize) == (3, 11, True)
