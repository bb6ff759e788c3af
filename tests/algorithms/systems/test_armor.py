"""ARMOR: its model's part of the game by hand, the states that walk inside it, and its reduction to ATAC."""

from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.algorithms.parts.reference import load_reference
from offline_mbrl.algorithms.parts.walk import Walk, advance, predict_one
from offline_mbrl.algorithms.systems import armor, atac
from offline_mbrl.algorithms.systems.armor import ARMOR, ARMORBatch, ARMORConfig, ARMORState, World
from offline_mbrl.data.builtin.behaviors import load_behaviors
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models.gaussian import Weights
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn import weights as policies
from offline_mbrl.nn.networks import GaussianActor, Params, init_params
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.tasks import get_robot
from offline_mbrl.types import Array, Data, Metrics, Problem, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: obs[..., 0] > 1.0)
KEY = jax.random.key(0)
TINY = {"hidden": (8, 8), "batch_size": 8, "capacity": 64, "horizon": 3}


def push_right() -> Ensemble:
    """r = a, s' = s + (a, 0), noise of std e^-1."""
    return toys.linear_world(jnp.zeros((1, 3, 3)).at[0, 2, :2].set(1.0), log_std=-1.0)


def some_data(count: int = 64) -> Data:
    generator = np.random.default_rng(0)
    obs = jnp.asarray(0.3 * generator.normal(size=(count, 2)), jnp.float32)
    action = jnp.asarray(np.clip(generator.normal(0, 0.3, (count, 1)), -1, 1), jnp.float32)
    rows = Transition(obs, action, action[:, 0], jnp.ones(count), obs + jnp.pad(action, ((0, 0), (0, 1))))
    return Data(rows, jnp.zeros(count), jnp.arange(count) % 8 == 0, jnp.arange(count) % 8 != 7)


def equal(left: object, right: object) -> bool:
    return not toys.differ(left, right)


def build(**settings: object) -> Algorithm:
    return armor.build(PROBLEM, ARMORConfig.model_validate(TINY | settings), 20)


def after(steps: int, algorithm: Algorithm, data: Data | None = None) -> tuple[ARMORState, Metrics]:
    """The state after the first `steps` gradient steps on `push_right`, and their metrics."""
    data = some_data() if data is None else data
    return toys.advance(algorithm, algorithm.init(KEY, data, toys.fitted(push_right())), data, steps)


def world_of(state: ARMORState) -> World:
    assert state.world is not None
    return state.world


def in_a_still_world(**settings: object) -> tuple[ARMOR, ARMORState, ARMORBatch]:
    """M predicts r = a and s' = s with std 1; Q_1 = s_0 and Q_2 = 2, and no value counts but the reward."""
    config = {"hidden": (), "batch_size": 2, "capacity": 8, "discount": 0.0, "bellman_weight": 2.0} | settings
    static = armor.make(toys.endless(2, 1), ARMORConfig.model_validate(config), 22)
    world = toys.linear_world(jnp.zeros((1, 3, 3)).at[0, 2, 0].set(1.0), log_std=0.0)
    state = armor.init(static, KEY, some_data(), toys.fitted(world))
    critic = toys.linear_critics([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [0.0, 2.0])
    learner = state.game.learner
    learner = learner.replace(critic=learner.critic.replace(params=critic))
    real = Transition(
        jnp.array([[1.0, 0.0], [2.0, 0.0]]),
        jnp.array([[0.5], [0.0]]),
        jnp.array([1.0, 0.0]),
        jnp.ones(2),
        jnp.array([[1.0, 2.0], [2.0, 0.0]]),
    )
    model = real._replace(obs=jnp.array([[3.0, 0.0], [4.0, 0.0]]), action=jnp.array([[1.0], [-1.0]]))
    return static, state.replace(game=state.game.replace(learner=learner)), ARMORBatch(real, model)


NLL = np.log(2 * np.pi) + (2.0**2 / 2) / 2  # two dimensions of std 1, of which one row's second is off by 2
REWARD_ERROR = (0.5**2 + 0) / 2


def test_pairs_are_the_logged_ones_and_then_the_models() -> None:
    _, _, batch = in_a_still_world()
    obs, action = armor.pairs(batch)
    assert obs[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert action[:, 0].tolist() == [0.5, 0.0, 1.0, -1.0]
    assert armor.pairs(batch._replace(model=None))[0].shape == (2, 2)


def test_the_models_error_weighs_the_reward_by_the_value_scale() -> None:
    static, state, batch = in_a_still_world(value_scale=0.5)
    gaussian = predict_one(world_of(state).model, batch.real.obs, batch.real.action)
    error, metrics = armor.model_error(static, gaussian, batch.real)
    assert float(metrics["model_nll"]) == pytest.approx(NLL, rel=1e-5)
    assert float(metrics["reward_error"]) == pytest.approx(REWARD_ERROR, rel=1e-5)
    assert float(error) == pytest.approx(NLL + REWARD_ERROR / 0.25, rel=1e-5)


def test_tuples_are_predictions_at_all_pairs_and_the_error_of_the_logged_ones() -> None:
    static, state, batch = in_a_still_world(value_scale=1.0)
    rows, error, _ = armor.tuples(static, state, world_of(state).model.weights.layers, batch, KEY)
    assert rows.reward.tolist() == [0.5, 0.0, 1.0, -1.0]
    assert float(error) == pytest.approx(NLL + REWARD_ERROR, rel=1e-5)
    assert rows.next_obs.shape == (4, 2)


@pytest.mark.parametrize(("warm_steps", "gap"), [(2, 0.0), (0, 3.0)])
def test_the_adversarys_loss_by_hand(warm_steps: int, gap: float) -> None:
    """sum_i L_i / beta + E_i + lambda E_D, E_i = mean (f_i - r)^2 at r = 0.5, 0, 1, -1; in the warm start L is off."""
    reference = "none" if warm_steps == 0 else "behavior"
    static, state, batch = in_a_still_world(
        value_scale=1.0, model_weight=0.5, warm_steps=warm_steps, reference=reference
    )
    layers = world_of(state).model.weights.layers

    def pessimism(critic: Params, q: Array) -> Array:
        return jnp.full(2, 3.0)

    loss, metrics = armor.adversary_loss(static, state.game.learner.critic.params, layers, state, batch, pessimism, KEY)
    errors = np.mean([0.25, 4.0, 4.0, 25.0]), np.mean([2.25, 4.0, 1.0, 9.0])
    expected = 2 * gap / 2.0 + sum(errors) + 2 * 0.5 * (NLL + REWARD_ERROR)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["model_reward"]) == pytest.approx(0.125)


def test_the_reference_follows_up_to_the_last_warm_step_and_never_again() -> None:
    static, state, _ = in_a_still_world(warm_steps=2)
    away = state.replace(reference=jax.tree.map(lambda leaf: leaf + 1, state.reference))
    for step, follows in ((1, True), (2, True), (3, False)):
        at = away.replace(game=away.game.replace(step=jnp.asarray(step, jnp.int32)))
        reference = armor.update_reference(static, at).reference
        assert equal(reference, state.game.learner.actor.params) is follows
        assert equal(reference, away.reference) is not follows


def test_the_model_takes_no_step_in_the_warm_start() -> None:
    """Two steps of no length, then Adam's first: the rate, in the direction of the gradient."""
    static, state, _ = in_a_still_world(warm_steps=2, fast_lr=0.25)
    world = world_of(state)
    grads = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1e9), world.model.weights.layers)
    for size in (0.0, 0.0, 0.25):
        after = armor.update_model(static, world, grads)
        expected = jax.tree.map(lambda leaf, size=size: leaf - size, world.model.weights.layers)
        toys.assert_close(after.model.weights.layers, expected, rtol=1e-5)
        assert equal(bounds(after), bounds(world))
        world = after


@pytest.fixture(scope="module")
def states() -> dict[str, tuple[ARMORState, Metrics]]:
    """States of one small run: as start, at the end of its warm start of 4 steps, and 5 steps on."""
    algorithm, data = build(warm_steps=4, slow_lr=1e-2), some_data()
    start = jax.jit(algorithm.init)(KEY, data, toys.fitted(push_right()))
    warm = toys.advance(algorithm, start, data, 4)
    return {"start": (start, {}), "warm": warm, "later": toys.advance(algorithm, warm[0], data, 5, first=4)}


def test_the_reference_is_the_policy_at_the_end_of_the_warm_start(
    states: dict[str, tuple[ARMORState, Metrics]],
) -> None:
    warm, later = states["warm"][0], states["later"][0]
    assert equal(warm.reference, warm.game.learner.actor.params)
    assert not equal(warm.reference, states["start"][0].reference)
    assert equal(later.reference, warm.reference)
    assert not equal(later.reference, later.game.learner.actor.params)


def bounds(world: World) -> tuple[Array, Array]:
    weights = cast(Weights, world.model.weights)
    return weights.min_logvar, weights.max_logvar


def test_the_model_plays_after_the_warm_start_only(states: dict[str, tuple[ARMORState, Metrics]]) -> None:
    start, warm, later = (world_of(states[name][0]) for name in ("start", "warm", "later"))
    assert equal(start.model.weights, warm.model.weights)
    assert not equal(warm.model.weights.layers, later.model.weights.layers)
    assert equal(bounds(warm), bounds(later))


def test_pairs_are_of_living_states_and_grow_by_one_step_each(states: dict[str, tuple[ARMORState, Metrics]]) -> None:
    start, warm, later = (world_of(states[name][0]).pairs for name in ("start", "warm", "later"))
    assert int(start.size) == 16  # before the first update: B pairs of each policy
    assert int(start.size) < int(warm.size) <= 64
    written = np.asarray(later.rows.obs)[: int(later.size)]
    assert np.isfinite(written).all()
    assert not np.asarray(PROBLEM.terminates(jnp.asarray(written))).any()


def test_metrics_are_finite(states: dict[str, tuple[ARMORState, Metrics]]) -> None:
    assert all(np.isfinite(value) for value in states["later"][1].values())
    assert {"model_nll", "reward_error", "critic_loss", "pessimism"} <= set(states["later"][1])


@pytest.mark.parametrize("reference", ["behavior", "none"])
def test_without_the_model_it_is_atac_step_for_step(reference: str) -> None:
    """Through the warm start and into the game, with relative and with absolute pessimism."""
    shared = {"hidden": (8, 8), "batch_size": 8, "bellman_weight": 2.0, "warm_steps": 3, "slow_lr": 1e-2}
    data = some_data()
    own = {"model": "off", "reference": reference, "capacity": 64}
    mine = armor.build(PROBLEM, ARMORConfig.model_validate(shared | own), 20)
    form = "relative" if reference == "behavior" else "absolute"
    theirs = atac.build(PROBLEM, atac.ATACConfig.model_validate(shared | {"pessimism": form}), 20)
    left, _ = toys.train(mine, data, 7)
    right, _ = toys.train(theirs, data, 7)
    toys.assert_close(left.game.learner, right.learner)
    assert int(left.game.step) == 7


def test_without_the_model_there_is_nothing_to_fit_and_nothing_to_walk_in() -> None:
    off, on = ARMORConfig(model="off"), ARMORConfig(model="fixed")
    assert armor.DEFINITION.pretraining(PROBLEM, off, 10) == {}
    assert armor.DEFINITION.pretraining(PROBLEM, on, 10)["dynamics"].config == on.dynamics
    algorithm = build(model="off")
    state = algorithm.init(KEY, some_data(), {})
    assert state.world is None
    assert algorithm.sample(state, some_data(), jax.random.key(1)).model is None


def test_the_critics_move_the_model_through_its_next_state() -> None:
    """With lambda 0 nothing fits M: its heads of r and of s' can only be moved by what the critics make of them."""
    state, _ = after(3, build(warm_steps=1, model_weight=0.0, bellman_weight=1.0))
    change = jnp.abs(world_of(state).model.weights.layers[0].weight - push_right().weights.layers[0].weight)[0]
    reward, mean, log_variance = change[:, :1], change[:, 1:3], change[:, 4:]
    assert float(reward.max()) > 0
    assert float(mean.max(axis=0).min()) > 0
    assert float(log_variance.max()) > 0  # s' is drawn, so sigma is moved too


def test_a_fixed_model_stays_as_it_was_fitted() -> None:
    state, _ = after(4, build(warm_steps=1, model="fixed"))
    assert equal(world_of(state).model.weights, push_right().weights)


def test_the_best_member_of_a_larger_fit_is_the_model() -> None:
    one = push_right()
    pair = one.replace(
        weights=one.weights.with_layers(jax.tree.map(lambda x: jnp.concatenate([0 * x, x]), one.weights.layers)),
        elites=jnp.array([1, 0], jnp.int32),
    )
    state = build().init(KEY, some_data(), toys.fitted(pair))
    assert equal(state.world.model.weights, one.weights)


def test_a_reference_from_a_file_is_the_one_that_walks(tmp_path: Path) -> None:
    params = init_params(GaussianActor((4,), 1), jax.random.key(5), 2)
    policies.save(tmp_path / "policy.npz", policies.SavedPolicy(params, np.zeros(1)))
    state, _ = after(2, build(reference="file", reference_file=tmp_path / "policy.npz"))
    assert equal(state.reference, params)


def test_a_wrong_reference_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reference_file"):
        ARMORConfig(reference="file")
    with pytest.raises(UserError, match="warm start"):
        ARMORConfig(warm_steps=0)
    with pytest.raises(UserError, match="no reference policy"):
        armor.build(PROBLEM, ARMORConfig(reference="file", reference_file=tmp_path / "missing.npz"), 20)
    other = init_params(GaussianActor((4,), 1), jax.random.key(5), 7)
    policies.save(tmp_path / "other.npz", policies.SavedPolicy(other, np.zeros(1)))
    with pytest.raises(UserError, match="of this task"):
        armor.build(PROBLEM, ARMORConfig(reference="file", reference_file=tmp_path / "other.npz"), 20)


def value_inside(world: Ensemble, actor: GaussianActor, params: Params, steps: int = 10) -> float:
    """Median reward of a step inside M, over 256 walks of 10 steps from s = 0; the few that leave the data explode."""

    def step(walk: Walk, key: Array) -> tuple[Walk, Array]:
        action = armor.draw_action(actor, params, walk.obs, stream(key, "action"))
        noise = jax.random.normal(key, walk.obs.shape)
        walk, rows = advance(toys.endless(2, 1), world, walk, action, noise)
        return walk, rows.reward

    start = Walk(jnp.zeros((256, 2)), jnp.ones(256, bool))
    return float(jnp.median(jax.lax.scan(step, start, jax.random.split(jax.random.key(1), steps))[1]))


def test_the_policy_improves_on_its_reference_under_the_learned_model() -> None:
    settings = {"hidden": (16, 16), "batch_size": 32, "capacity": 4096, "warm_steps": 200, "bellman_weight": 10.0}
    config = ARMORConfig.model_validate(settings | {"slow_lr": 1e-3, "fast_lr": 3e-3, "discount": 0.5})
    state, _ = after(900, armor.build(toys.endless(2, 1), config, 900), some_data(512))
    model, actor = world_of(state).model, GaussianActor((16, 16), 1)
    mine = value_inside(model, actor, state.game.learner.actor.params)
    assert mine > value_inside(model, actor, state.reference) + 0.1


def test_the_package_s_policies_are_references_for_their_robots() -> None:
    hopper, behaviors = problem_of(get_robot("hopper")), load_behaviors(get_robot("hopper"))
    for quality, index in (("random", 0), ("medium", behaviors.medium), ("expert", behaviors.expert)):
        _, params = load_reference(quality, None, hopper)
        assert equal(params, behaviors.actor(index))
    with pytest.raises(UserError, match="a policy of a benchmark robot"):
        armor.build(PROBLEM, ARMORConfig(reference="expert"), 20)
