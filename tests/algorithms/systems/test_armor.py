"""ARMOR: its model's part of the game by hand, the states that walk inside it, and its reduction to ATAC."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm, State
from offline_mbrl.algorithms.systems import armor, atac
from offline_mbrl.algorithms.systems.armor import ARMORConfig, ARMORState, Walk, World
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian
from offline_mbrl.dynamics.models.gaussian import Weights
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn import weights as policies
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.networks import GaussianActor, init_params
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array, Data, Metrics, Problem, Transition

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: obs[..., 0] > 1.0)
TINY = {"hidden": (8, 8), "batch_size": 8, "capacity": 64, "horizon": 3}


def linear_world(kernel: Array, log_std: float = -1.0) -> Ensemble:
    """One member without hidden layers: mean of (r, s' - s) = (s, a) @ kernel, the same std everywhere."""
    width = kernel.shape[1]
    bias = jnp.concatenate([jnp.zeros(width), jnp.full(width, 2 * log_std)])
    layer = Layer(jnp.concatenate([kernel, jnp.zeros_like(kernel)], axis=1)[None], bias[None])
    weights = Weights((layer,), jnp.full(width, -40.0), jnp.full(width, 40.0))
    inputs = kernel.shape[0]
    return Ensemble(weights, Normalizer(jnp.zeros(inputs), jnp.ones(inputs)), jnp.zeros(1, jnp.int32))


def push_right() -> Ensemble:
    """r = a, s' = s + (a, 0), noise of std e^-1."""
    return linear_world(jnp.zeros((3, 3)).at[2, 0].set(1.0).at[2, 1].set(1.0))


def some_data(count: int = 64) -> Data:
    generator = np.random.default_rng(0)
    obs = jnp.asarray(0.3 * generator.normal(size=(count, 2)), jnp.float32)
    action = jnp.asarray(np.clip(generator.normal(0, 0.3, (count, 1)), -1, 1), jnp.float32)
    rows = Transition(obs, action, action[:, 0], jnp.ones(count), obs + jnp.pad(action, ((0, 0), (0, 1))))
    return Data(rows, jnp.zeros(count), jnp.arange(count) % 8 == 0, jnp.arange(count) % 8 != 7)


def run(algorithm: Algorithm, state: State, data: Data, steps: int, first: int = 0) -> tuple[State, Metrics]:
    """`steps` updates with the keys of the training loop."""
    update = jax.jit(
        lambda s, k: algorithm.update(s, algorithm.sample(s, data, stream(k, "sample")), stream(k, "update"))
    )
    metrics: Metrics = {}
    for number in range(first, first + steps):
        state, metrics = update(state, jax.random.fold_in(jax.random.key(9), number))
    return state, metrics


def equal(left: object, right: object) -> bool:
    return bool(jax.tree.all(jax.tree.map(lambda x, y: (x == y).all(), left, right)))


def world_of(state: ARMORState) -> World:
    assert state.world is not None
    return state.world


def test_transition_error_is_the_negative_log_density_of_the_state() -> None:
    generator = np.random.default_rng(1)
    mean, std = generator.normal(size=(5, 3)), generator.uniform(0.1, 2.0, size=(5, 3))
    obs, next_obs, reward = generator.normal(size=(5, 2)), generator.normal(size=(5, 2)), generator.normal(size=5)
    rows = Transition(*(jnp.asarray(x) for x in (obs, np.zeros((5, 1)), reward, np.ones(5), next_obs)))
    gaussian = Gaussian(jnp.asarray(mean), jnp.asarray(std))
    spread = std[:, 1:]
    density = np.exp(-(((next_obs - obs - mean[:, 1:]) / spread) ** 2) / 2) / (spread * (2 * np.pi) ** 0.5)
    expected = -np.log(density.prod(axis=1)).mean()
    assert float(jax.jit(armor.transition_error)(gaussian, rows)) == pytest.approx(expected, rel=1e-5)
    assert float(armor.reward_error(gaussian, rows)) == pytest.approx(((mean[:, 0] - reward) ** 2).mean(), rel=1e-5)


def test_imagined_rows_take_the_mean_reward_and_keep_the_models_gradient() -> None:
    gaussian = Gaussian(jnp.array([[5.0, 0.5, 1.0]]), jnp.array([[9.0, 0.1, 0.2]]))

    def make(gaussian: Gaussian) -> Transition:
        noise = jnp.array([[1.0, -1.0]])
        return armor.imagine(PROBLEM, gaussian, jnp.array([[0.1, 0.2]]), jnp.zeros((1, 1)), noise)

    rows = make(gaussian)
    np.testing.assert_allclose(rows.next_obs, [[0.7, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(rows.reward, [5.0])
    np.testing.assert_allclose(rows.discount, [1.0])
    slope = jax.grad(lambda g: make(g).next_obs.sum() + make(g).reward.sum())(gaussian)
    np.testing.assert_allclose(slope.mean, [[1.0, 1.0, 1.0]])
    np.testing.assert_allclose(slope.std, [[0.0, 1.0, -1.0]])
    assert float(make(gaussian._replace(mean=jnp.array([[0.0, 2.0, 0.0]]))).discount[0]) == 0.0


def test_the_dead_stay_dead_until_a_reset_is_due() -> None:
    world, still = push_right(), jnp.zeros((3, 2))
    walk = Walk(jnp.array([[0.9, 0.0], [0.9, 0.0], [0.0, 0.0]]), jnp.array([True, True, False]))
    walk, rows = armor.advance(PROBLEM, world, walk, jnp.array([[0.5], [-0.5], [0.0]]), still)
    np.testing.assert_array_equal(walk.alive, [False, True, False])
    np.testing.assert_allclose(rows.discount, [0.0, 1.0, 1.0])
    np.testing.assert_allclose(walk.obs[1], [0.4, 0.0], rtol=1e-6)
    kept = armor.restart(walk, jnp.ones((3, 2)), jnp.asarray(False))
    assert equal(kept, walk)
    fresh = armor.restart(walk, jnp.ones((3, 2)), jnp.asarray(True))
    np.testing.assert_array_equal(fresh.alive, [True, True, True])
    np.testing.assert_array_equal(fresh.obs, np.ones((3, 2)))


def test_a_prediction_that_is_not_finite_ends_a_walk() -> None:
    world = linear_world(jnp.full((3, 3), jnp.nan))
    never = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))
    walk, _ = armor.advance(
        never, world, Walk(jnp.zeros((1, 2)), jnp.ones(1, bool)), jnp.zeros((1, 1)), jnp.zeros((1, 2))
    )
    assert not walk.alive.any()


@pytest.fixture(scope="module")
def played() -> dict[str, tuple[ARMORState, Metrics]]:
    """States of one small run: as begun, at the end of its warm start of 4 steps, and 5 steps on."""
    algorithm, data = (
        armor.build(PROBLEM, ARMORConfig.model_validate(TINY | {"warm_steps": 4, "slow_lr": 1e-2}), 20),
        some_data(),
    )
    begun = jax.jit(algorithm.init)(jax.random.key(0), data, jax.tree.map(lambda x: x, push_right()))
    warm = run(algorithm, begun, data, 4)
    return {"begun": (begun, {}), "warm": warm, "later": run(algorithm, warm[0], data, 5, first=4)}


def test_the_reference_is_the_policy_at_the_end_of_the_warm_start(
    played: dict[str, tuple[ARMORState, Metrics]],
) -> None:
    warm, later = played["warm"][0], played["later"][0]
    assert equal(warm.reference, warm.game.learner.actor.params)
    assert not equal(warm.reference, played["begun"][0].reference)
    assert equal(later.reference, warm.reference)
    assert not equal(later.reference, later.game.learner.actor.params)


def test_the_model_plays_after_the_warm_start_only(played: dict[str, tuple[ARMORState, Metrics]]) -> None:
    begun, warm, later = (world_of(played[name][0]).model.weights for name in ("begun", "warm", "later"))
    assert equal(begun, warm)
    assert not equal(warm.layers, later.layers)
    assert equal((warm.min_logvar, warm.max_logvar), (later.min_logvar, later.max_logvar))


def test_pairs_are_of_living_states_and_grow_by_one_step_each(played: dict[str, tuple[ARMORState, Metrics]]) -> None:
    begun, warm, later = (world_of(played[name][0]).pairs for name in ("begun", "warm", "later"))
    assert int(begun.size) == 16  # before the first update: B pairs of each policy
    assert int(begun.size) < int(warm.size) <= 64
    written = np.asarray(later.rows.obs)[: int(later.size)]
    assert np.isfinite(written).all()
    assert not np.asarray(PROBLEM.terminates(jnp.asarray(written))).any()


def test_metrics_are_finite(played: dict[str, tuple[ARMORState, Metrics]]) -> None:
    assert all(np.isfinite(value) for value in played["later"][1].values())
    assert {"model_nll", "reward_error", "critic_loss", "pessimism"} <= set(played["later"][1])


@pytest.mark.parametrize("reference", ["behavior", "none"])
def test_without_the_model_it_is_atac_step_for_step(reference: str) -> None:
    """Through the warm start and into the game, with relative and with absolute pessimism."""
    shared = {"hidden": (8, 8), "batch_size": 8, "bellman_weight": 2.0, "warm_steps": 3, "slow_lr": 1e-2}
    data, key = some_data(), jax.random.key(0)
    own = {"model": "off", "reference": reference, "capacity": 64}
    mine = armor.build(PROBLEM, ARMORConfig.model_validate(shared | own), 20)
    form = "relative" if reference == "behavior" else "absolute"
    theirs = atac.build(PROBLEM, atac.ATACConfig.model_validate(shared | {"pessimism": form}), 20)
    left, _ = run(mine, mine.init(key, data, None), data, 7)
    right, _ = run(theirs, theirs.init(key, data, None), data, 7)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), left.game.learner, right.learner)
    assert int(left.game.step) == 7


def test_without_the_model_there_is_nothing_to_fit_and_nothing_to_walk_in() -> None:
    off, on = ARMORConfig(model="off"), ARMORConfig(model="fixed")
    assert armor.DEFINITION.ensemble(off) is None
    assert armor.DEFINITION.ensemble(on) == on.dynamics
    algorithm = armor.build(PROBLEM, ARMORConfig.model_validate(TINY | {"model": "off"}), 20)
    state = algorithm.init(jax.random.key(0), some_data(), None)
    assert state.world is None
    assert algorithm.sample(state, some_data(), jax.random.key(1)).model is None


def test_the_critics_move_the_model_through_its_next_state() -> None:
    """With lambda 0 nothing fits M: its heads of r and of s' can only be moved by what the critics make of them."""
    settings = TINY | {"warm_steps": 1, "model_weight": 0.0, "bellman_weight": 1.0}
    algorithm, data = armor.build(PROBLEM, ARMORConfig.model_validate(settings), 20), some_data()
    state, _ = run(algorithm, algorithm.init(jax.random.key(0), data, push_right()), data, 3)
    moved = jnp.abs(world_of(state).model.weights.layers[0].weight - push_right().weights.layers[0].weight)[0]
    reward, mean, log_variance = moved[:, :1], moved[:, 1:3], moved[:, 4:]
    assert float(reward.max()) > 0
    assert float(mean.max(axis=0).min()) > 0
    assert float(log_variance.max()) > 0  # s' is drawn, so sigma is moved too


def test_a_fixed_model_stays_as_it_was_fitted() -> None:
    algorithm, data = (
        armor.build(PROBLEM, ARMORConfig.model_validate(TINY | {"warm_steps": 1, "model": "fixed"}), 20),
        some_data(),
    )
    state, _ = run(algorithm, algorithm.init(jax.random.key(0), data, push_right()), data, 4)
    assert equal(state.world.model.weights, push_right().weights)


def test_the_best_member_of_a_larger_fit_is_the_model() -> None:
    one = push_right()
    pair = one.replace(
        weights=one.weights._replace(layers=jax.tree.map(lambda x: jnp.concatenate([0 * x, x]), one.weights.layers)),
        elites=jnp.array([1, 0], jnp.int32),
    )
    algorithm = armor.build(PROBLEM, ARMORConfig.model_validate(TINY), 20)
    state = algorithm.init(jax.random.key(0), some_data(), pair)
    assert equal(state.world.model.weights, one.weights)


def test_a_reference_from_a_file_is_the_one_that_walks(tmp_path: Path) -> None:
    params = init_params(GaussianActor((4,), 1), jax.random.key(5), 2)
    policies.save(tmp_path / "policy.npz", policies.Policy(params, np.zeros(1)))
    settings = TINY | {"reference": "file", "reference_file": tmp_path / "policy.npz"}
    algorithm, data = armor.build(PROBLEM, ARMORConfig.model_validate(settings), 20), some_data()
    state, _ = run(algorithm, algorithm.init(jax.random.key(0), data, push_right()), data, 2)
    assert equal(state.reference, params)


def test_a_wrong_reference_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reference_file"):
        ARMORConfig(reference="file")
    with pytest.raises(UserError, match="warm start"):
        ARMORConfig(warm_steps=0)
    with pytest.raises(UserError, match="no reference policy"):
        armor.build(PROBLEM, ARMORConfig(reference="file", reference_file=tmp_path / "missing.npz"), 20)
    other = init_params(GaussianActor((4,), 1), jax.random.key(5), 7)
    policies.save(tmp_path / "other.npz", policies.Policy(other, np.zeros(1)))
    with pytest.raises(UserError, match="of this task"):
        armor.build(PROBLEM, ARMORConfig(reference="file", reference_file=tmp_path / "other.npz"), 20)


def value_inside(world: Ensemble, act: armor.Sampler, params: object, steps: int = 10) -> float:
    """Mean undiscounted reward of a policy inside M, over 256 walks of 10 steps from s = 0."""
    problem = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))

    def step(walk: Walk, key: Array) -> tuple[Walk, Array]:
        action = act(params, walk.obs, stream(key, "action"))
        walk, rows = armor.advance(problem, world, walk, action, jax.random.normal(key, walk.obs.shape))
        return walk, rows.reward.mean()

    start = Walk(jnp.zeros((256, 2)), jnp.ones(256, bool))
    return float(jax.lax.scan(step, start, jax.random.split(jax.random.key(1), steps))[1].mean())


def test_the_policy_improves_on_its_reference_under_the_learned_model() -> None:
    problem = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))
    settings = {"hidden": (16, 16), "batch_size": 32, "capacity": 4096, "warm_steps": 200, "bellman_weight": 10.0}
    config = ARMORConfig.model_validate(settings | {"slow_lr": 1e-3, "fast_lr": 3e-3, "discount": 0.5})
    algorithm, data = armor.build(problem, config, 900), some_data(512)
    state, _ = run(algorithm, algorithm.init(jax.random.key(0), data, push_right()), data, 900)
    act = armor.sampler(GaussianActor((16, 16), 1))
    mine = value_inside(state.world.model, act, state.game.learner.actor.params)
    assert mine > value_inside(state.world.model, act, state.reference) + 0.1
