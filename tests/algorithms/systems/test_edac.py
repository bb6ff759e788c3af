"""The diversity term against a loop over pairs, its gradient's purpose, and critics evaluated in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SACState
from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.systems.edac import (
    DEFINITION,
    EDACConfig,
    build,
    critic_loss,
    is_zero,
    similarity,
    unit,
    values_and_directions,
)
from offline_mbrl.nn.networks import Params, apply, critic_ensemble, init_params, map_critics, one_of
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(2, 2)


def config(**settings: object) -> EDACConfig:
    return EDACConfig.model_validate({"hidden": (8,), "batch_size": 6, "critics": 4} | settings)


def batch() -> Transition:
    return toys.random_rows(6, 2, 2)._replace(discount=jnp.ones(6))


def linear_critics(action_weights: list[list[float]]) -> Params:
    """Q_i(s, a) = s_0 + w_i . a."""
    return toys.linear_critics([[1.0, 0.0, *weights] for weights in action_weights])


def pairwise_similarity(directions: np.ndarray) -> float:
    """The definition, pair by pair."""
    n, rows = directions.shape[:2]
    total = sum(directions[i, b] @ directions[j, b] for b in range(rows) for i in range(n) for j in range(n) if i != j)
    return float(total / rows / (n - 1))


def test_similarity_by_hand() -> None:
    same = jnp.tile(jnp.array([[0.6, 0.8]]), (3, 1, 1))
    assert similarity(same) == pytest.approx(3.0)  # 6 ordered pairs of cosine 1, over N - 1 = 2
    opposite = jnp.array([[[1.0, 0.0]], [[-1.0, 0.0]]])
    assert similarity(opposite) == pytest.approx(-2.0)
    orthogonal = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert similarity(orthogonal) == pytest.approx(0.0, abs=1e-6)


def test_similarity_is_the_sum_over_pairs() -> None:
    drawn = np.random.default_rng(1).normal(size=(5, 4, 3))
    directions = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    assert jax.jit(similarity)(directions) == pytest.approx(pairwise_similarity(directions), rel=1e-4)


def test_unit_gradient_of_a_dead_critic_is_zero_and_differentiable() -> None:
    np.testing.assert_allclose(unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert jnp.isfinite(jax.grad(lambda g: unit(g).sum())(jnp.zeros(3))).all()


def test_loss_by_hand_on_linear_critics() -> None:
    agent = sac.make(PROBLEM, config(hidden=(), critics=2), 1)
    critic = linear_critics([[2.0, 0.0], [0.0, 5.0]])
    rows = batch()._replace(obs=jnp.zeros((6, 2)), action=jnp.ones((6, 2)))
    q, directions = values_and_directions(agent, critic, rows.obs, rows.action)
    np.testing.assert_allclose(q, [[2.0] * 6, [5.0] * 6])
    np.testing.assert_allclose(directions, [[[1.0, 0.0]] * 6, [[0.0, 1.0]] * 6], atol=1e-6)
    loss, metrics = critic_loss(agent, critic, rows, jnp.full(6, 1.0), diversity_weight=3.0)
    assert loss == pytest.approx(1.0 + 16.0)  # orthogonal gradients cost nothing
    parallel = linear_critics([[2.0, 0.0], [5.0, 0.0]])
    loss, metrics = critic_loss(agent, parallel, rows, jnp.full(6, 1.0), diversity_weight=3.0)
    assert loss == pytest.approx(1.0 + 16.0 + 3.0 * 2.0, rel=1e-5)
    assert metrics["similarity"] == pytest.approx(2.0, rel=1e-5)


def test_without_weight_it_is_the_loss_of_sac() -> None:
    agent = sac.make(PROBLEM, config(), 1)
    critic = sac.init(agent, jax.random.key(0)).critic.params
    target = jnp.arange(6.0)
    plain = jax.grad(lambda c: sac.critic_loss(agent, c, batch(), target)[0])(critic)
    without = jax.grad(lambda c: critic_loss(agent, c, batch(), target, 0.0)[0])(critic)
    toys.assert_close(plain, without, rtol=1e-5)


def test_a_traced_weight_of_zero_is_sac_n() -> None:
    """The lanes of one program differ in the weight; the lane of 0 takes the step that SAC-N alone takes."""
    key = jax.random.key(4)

    def step(weight: float | Array) -> SACState:
        static = config().model_copy(update={"diversity_weight": weight})
        algorithm = build(PROBLEM, static, 1)
        after: SACState = algorithm.update(algorithm.init(key, toys.data_of(batch()), {}), batch(), key)[0]
        return after

    lanes = jax.jit(jax.vmap(step))(jnp.array([0.0, 2.0]))
    of_zero, of_two = (jax.tree.map(lambda leaf, lane=lane: leaf[lane], lanes) for lane in (0, 1))
    toys.assert_close(of_zero, jax.jit(step, static_argnums=0)(0.0))
    assert toys.differ(of_zero, of_two)


def test_only_a_number_is_known_to_be_zero() -> None:
    assert is_zero(0.0)
    assert is_zero(0)
    assert not is_zero(0.5)
    assert not jax.jit(is_zero)(0.0)


def test_gradient_of_the_term_drives_the_critics_apart() -> None:
    agent = sac.make(PROBLEM, config(), 1)
    critic = sac.init(agent, jax.random.key(1)).critic.params
    rows = batch()

    def term(params: object) -> Array:
        return similarity(values_and_directions(agent, params, rows.obs, rows.action)[1])

    step = jax.jit(lambda c: jax.tree.map(lambda leaf, g: leaf - 0.05 * g, c, jax.grad(term)(c)))
    before = float(term(critic))
    for _ in range(50):
        critic = step(critic)
    assert float(term(critic)) < before - 0.5


def test_critics_in_turn_give_the_same_values_and_gradients() -> None:
    module = critic_ensemble(7, (8,))
    critics = init_params(module, jax.random.key(2), 2, 2)
    one, rows = one_of(module), batch()

    def total(params: object, action: Array, chunk: int) -> Array:
        q = map_critics(lambda critic: apply(one, critic, rows.obs, action), params, chunk)
        return jnp.sin(q).sum()

    np.testing.assert_allclose(
        map_critics(lambda critic: apply(one, critic, rows.obs, rows.action), critics, 3),
        apply(module, critics, rows.obs, rows.action),
        rtol=1e-6,
    )
    whole = jax.grad(total, argnums=(0, 1))(critics, rows.action, 7)
    in_turn = jax.grad(total, argnums=(0, 1))(critics, rows.action, 3)
    toys.assert_close(whole, in_turn, rtol=1e-5)


def test_memory_grows_with_the_weights_alone() -> None:
    """Beyond its arguments, an update of 400 critics may take no more than one of 50 and a copy of their weights."""

    def update_memory(critics: int) -> tuple[int, int]:
        algorithm = build(PROBLEM, EDACConfig(critics=critics, hidden=(16, 16), batch_size=256), 1)
        state = jax.eval_shape(algorithm.init, jax.random.key(0), None, None)
        rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((256, *leaf.shape[1:]), jnp.float32), batch())
        used = jax.jit(algorithm.update).lower(state, rows, jax.random.key(0)).compile().memory_analysis()
        assert used is not None
        weights = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.critic.params))
        return used.temp_size_in_bytes, weights

    few, _ = update_memory(50)
    many, weights = update_memory(400)
    assert many < 2 * few + 2 * weights


@pytest.mark.parametrize("diversity_weight", [0.0, 1.0])
def test_seed_alone_is_the_seed_in_a_batch(diversity_weight: float) -> None:
    algorithm = build(PROBLEM, config(diversity_weight=diversity_weight), 1)
    keys = jax.random.split(jax.random.key(3), 2)
    states = jax.vmap(lambda key: algorithm.init(key, toys.data_of(batch()), {}))(keys)
    together, metrics = jax.jit(jax.vmap(algorithm.update, in_axes=(0, None, 0)))(states, batch(), keys)
    alone, _ = jax.jit(algorithm.update)(jax.tree.map(lambda leaf: leaf[1], states), batch(), keys[1])
    toys.assert_close(jax.tree.map(lambda leaf: leaf[1], together.critic), alone.critic)
    assert all(jnp.isfinite(value).all() for value in metrics.values())


@pytest.mark.parametrize("task", TASKS)
def test_presets_of_both_systems(task: str) -> None:
    edac, sac_n = resolve(DEFINITION, task), resolve(DEFINITION, task, preset="sac-n")
    assert edac.steps == sac_n.steps == 3_000_000
    assert isinstance(edac.config, EDACConfig)
    assert isinstance(sac_n.config, EDACConfig)
    assert sac_n.config.diversity_weight == 0.0
    assert sac_n.config.critics >= edac.config.critics
    assert sac_n.sources["critics"].startswith("our choice" if task.endswith("random") else "CORL")
