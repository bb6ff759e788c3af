"""The game of ATAC and ARMOR: its losses by hand, the projection, and what the warm start leaves behind."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

from offline_mbrl.algorithms.algorithm import sample_starts
from offline_mbrl.algorithms.parts import adversarial, sac
from offline_mbrl.algorithms.parts.adversarial import AdversarialConfig, Game, GameState
from offline_mbrl.errors import UserError
from offline_mbrl.nn.networks import Params
from offline_mbrl.types import Array, Interval, Problem, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = Problem(3, 2, lambda obs: obs[..., 0] > 2.0)


def tiny(steps: int = 22, **settings: object) -> Game:
    return adversarial.make(PROBLEM, AdversarialConfig.model_validate({"hidden": (8, 8)} | settings), steps)


def some_rows(seed: int = 0) -> Transition:
    return toys.random_rows(16, 3, 2, seed)


def at_step(state: GameState, step: int) -> GameState:
    return state.replace(step=jnp.asarray(step, jnp.int32))


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 3.0), (0.5, 5.0), (1.0, 7.0), (2.0, 5.5), (4.0, 4.75)])
def test_normalized_sum_divides_by_a_weight_above_one(weight: float, expected: float) -> None:
    for function in (adversarial.normalized_sum, jax.jit(adversarial.normalized_sum)):
        assert float(function(jnp.asarray(3.0), jnp.asarray(4.0), weight)) == pytest.approx(expected)


def test_normalized_sum_is_continuous_at_one() -> None:
    below, above = (
        float(adversarial.normalized_sum(jnp.asarray(3.0), jnp.asarray(4.0), jnp.asarray(1.0 + s * 1e-4)))
        for s in (-1, 1)
    )
    assert abs(above - below) < 2e-3


def test_bellman_error_by_hand_with_and_without_jit_and_vmap() -> None:
    q = jnp.asarray([[1.0, 2.0], [0.0, -1.0]])
    residual = jnp.asarray([[0.0, 4.0], [1.0, 1.0]])
    target = jnp.asarray([3.0, 2.0])
    # critic 1: residual (1 + 4) / 2, target (4 + 0) / 2; critic 2: residual (1 + 4) / 2, target (9 + 9) / 2
    expected = np.array([0.75 * 2.5 + 0.25 * 2.0, 0.75 * 2.5 + 0.25 * 9.0])
    function = partial(adversarial.bellman_error, weight=0.25)
    np.testing.assert_allclose(function(q, residual, target), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(function)(q, residual, target), expected, rtol=1e-6)
    batched = jax.vmap(function)(*(jnp.stack([x, 2 * x]) for x in (q, residual, target)))
    np.testing.assert_allclose(batched, [expected, 4 * expected], rtol=1e-6)


@pytest.mark.parametrize(("weight", "flows"), [(0.0, True), (0.5, True), (1.0, False)])
def test_the_residual_term_alone_has_a_gradient_at_the_next_state(weight: float, flows: bool) -> None:
    """Through f(s', a'), as a residual gradient needs; a copy of it that stops there is plain TD."""
    slope = jax.grad(lambda y: adversarial.bellman_error(jnp.ones((1, 4)), y, jnp.zeros(4), weight).sum())(
        jnp.zeros((1, 4))
    )
    assert bool(jnp.abs(slope).max() > 0) is flows


def oracle(game: Game, state: GameState, rows: Transition, next_action: Array, gap: Array, beta: float) -> float:
    """The adversary's loss from values alone, in NumPy."""

    def value(critic: Params, obs: Array, action: Array) -> NDArray[np.float64]:
        return np.asarray(sac.q_values(game.agent, critic, obs, action), np.float64)

    learner = state.learner
    q = value(learner.critic.params, rows.obs, rows.action)
    future = 0.99 * np.asarray(rows.discount, np.float64)
    residual = np.asarray(rows.reward) + future * value(learner.critic.params, rows.next_obs, next_action)
    target = np.asarray(rows.reward) + future * value(learner.target, rows.next_obs, next_action).min(0)
    error = 0.5 * ((q - residual) ** 2).mean(1) + 0.5 * ((q - target) ** 2).mean(1)
    return float(sum(g / beta + e if beta > 1 else g + beta * e for g, e in zip(np.asarray(gap), error, strict=True)))


@pytest.mark.parametrize("beta", [0.5, 3.0])
@pytest.mark.parametrize("step", [0, 5])
def test_adversary_loss_against_numpy(beta: float, step: int) -> None:
    """The pessimism counts in the game (step 5) and not in the warm start of two steps (step 0)."""
    game, rows = tiny(bellman_weight=beta), some_rows()
    state = at_step(adversarial.init(game, jax.random.key(0)), step)
    state = state.replace(learner=state.learner.replace(target=jax.tree.map(lambda x: 0.7 * x, state.learner.target)))
    action, next_action = some_rows(seed=1).action, some_rows(seed=2).action
    measure = adversarial.against_logged(game, rows, action)
    loss, metrics = jax.jit(
        lambda s, r: adversarial.adversary_loss(game, s.learner.critic.params, s, r, next_action, measure)
    )(state, rows)
    critic = state.learner.critic.params
    gap = sac.q_values(game.agent, critic, rows.obs, action) - sac.q_values(game.agent, critic, rows.obs, rows.action)
    counted = gap.mean(1) if step >= game.warm_steps else jnp.zeros(2)
    assert float(loss) == pytest.approx(oracle(game, state, rows, next_action, counted, beta), rel=1e-5)
    assert float(metrics["pessimism"]) == pytest.approx(float(gap.mean()), rel=1e-4, abs=1e-6)


def test_the_gradient_reaches_the_next_observation_through_the_target_critic() -> None:
    """What a model that plays needs: with w = 1 the only way from s' to the loss is fbar's input."""
    game, rows = tiny(target_weight=1.0), some_rows()
    state = at_step(adversarial.init(game, jax.random.key(0)), 5)
    measure = adversarial.against_logged(game, rows, rows.action)
    slope = jax.grad(
        lambda next_obs: adversarial.adversary_loss(
            game, state.learner.critic.params, state, rows._replace(next_obs=next_obs), rows.action, measure
        )[0]
    )(rows.next_obs)
    alive = np.asarray(rows.discount) > 0
    assert (np.abs(slope[alive]).max(axis=1) > 0).mean() > 0.8  # a row whose hidden units are all off has none
    assert not np.abs(slope[~alive]).any()


def test_pessimism_against_the_logged_action_is_one_of_reference() -> None:
    game, rows = tiny(), some_rows()
    state, action = adversarial.init(game, jax.random.key(0)), some_rows(seed=1).action
    critic = state.learner.critic.params
    q = sac.q_values(game.agent, critic, rows.obs, rows.action)
    logged = adversarial.against_logged(game, rows, action)
    reference = adversarial.against_reference(game, rows.obs, action, rows.action)
    np.testing.assert_allclose(logged(critic, q), reference(critic, q), rtol=1e-5, atol=1e-7)
    left, right = (
        jax.grad(lambda c, m=m: m(c, sac.q_values(game.agent, c, rows.obs, rows.action)).sum())(critic)
        for m in (logged, reference)
    )
    toys.assert_close(left, right)


def test_projection_never_enlarges_is_idempotent_and_leaves_biases() -> None:
    kernel = jnp.stack([jnp.full((3, 4), 10.0), jnp.full((3, 4), 0.1)])  # norms 34.6 and 0.35
    weights = {"Dense_0": {"kernel": kernel, "bias": jnp.full((2, 4), 1e3)}}
    once = adversarial.project(weights, 5.0)
    norms = np.linalg.norm(once["Dense_0"]["kernel"].reshape(2, -1), axis=1)
    np.testing.assert_allclose(norms, [5.0, 0.1 * 12**0.5], rtol=1e-6)
    np.testing.assert_array_equal(once["Dense_0"]["bias"], weights["Dense_0"]["bias"])
    twice = adversarial.project(once, 5.0)
    np.testing.assert_allclose(twice["Dense_0"]["kernel"], once["Dense_0"]["kernel"], rtol=1e-6)


def test_restarted_adam_is_one_adam_and_then_another() -> None:
    gradients = jnp.asarray(np.random.default_rng(0).normal(size=(9, 4)), jnp.float32)
    optimizer = adversarial.restarted_adam(1e-2, 1e-4, 5)
    expected, got, state = jnp.ones(4), jnp.ones(4), optimizer.init(jnp.ones(4))
    for rate, part in ((1e-2, gradients[:5]), (1e-4, gradients[5:])):
        plain = optax.adam(rate)
        plain_state = plain.init(expected)
        for gradient in part:
            change, plain_state = plain.update(gradient, plain_state)
            expected = expected + change
            change, state = optimizer.update(gradient, state)
            got = got + change
            np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_actor_is_judged_by_the_first_critic_alone() -> None:
    game, rows = tiny(), some_rows()
    critic = adversarial.init(game, jax.random.key(0)).learner.critic.params
    both = sac.q_values(game.agent, critic, rows.obs, rows.action)
    np.testing.assert_allclose(adversarial.first_value(game, critic, rows.obs, rows.action), both[0], rtol=1e-5)
    assert float(jnp.abs(both[0] - both[1]).max()) > 1e-3


@pytest.mark.parametrize("step", [0, 5])
def test_the_actor_clones_first_and_plays_afterwards(step: int) -> None:
    """With alpha = 1 the loss is the first term plus mean log pi; in the warm start the critic does not enter."""
    game, rows, key = tiny(), some_rows(), jax.random.key(3)
    state = at_step(adversarial.init(game, jax.random.key(0)), step)
    actor = state.learner.actor.params
    _, log_prob = sac.sample_action(game.agent, actor, rows.obs, key)
    loss, first = adversarial.actor_loss(game, actor, state, rows.obs, rows.action, key)
    assert float(loss) == pytest.approx(float(first + log_prob.mean()), rel=1e-5)
    louder = jax.tree.map(lambda x: 2 * x, state.learner.critic.params)
    changed = state.replace(learner=state.learner.replace(critic=state.learner.critic.replace(params=louder)))
    _, other = adversarial.actor_loss(game, actor, changed, rows.obs, rows.action, key)
    assert (float(other) == float(first)) is (step < game.warm_steps)


def test_the_game_begins_with_fresh_targets_and_temperature() -> None:
    """Targets that were copied before the warm start would differ from the critics here, and alpha from 1."""
    game = tiny(steps=22, fast_lr=1e-2)
    assert game.warm_steps == 2
    state, rows = adversarial.init(game, jax.random.key(0)), some_rows()

    def step(state: GameState) -> GameState:
        state = adversarial.update_critic(game, state, jax.tree.map(jnp.ones_like, state.learner.critic.params))
        state, _ = adversarial.update_actor(game, state, rows.obs, rows.action, jnp.asarray(9.0), jax.random.key(1))
        return adversarial.finish_step(game, state)

    def equal(state: GameState) -> bool:
        return not toys.differ(state.learner.target, state.learner.critic.params)

    state = jax.jit(step)(state)
    assert not equal(state)
    state = jax.jit(step)(state)
    assert equal(state)
    assert float(state.learner.log_alpha.params) == pytest.approx(0.02, rel=1e-3)
    state = jax.jit(step)(state)  # from 0 again, one Adam step
    assert not equal(state)
    assert float(state.learner.log_alpha.params) == pytest.approx(0.01, rel=1e-3)


def test_alpha_rises_while_the_entropy_is_below_its_floor() -> None:
    game = tiny()
    state = at_step(adversarial.init(game, jax.random.key(0)), 5)
    floor = game.agent.target_entropy
    for entropy, sign in ((floor - 1.0, 1), (floor + 1.0, -1)):
        after = adversarial.update_temperature(game, state, jnp.asarray(-entropy))
        assert np.sign(float(after.learner.log_alpha.params)) == sign


def test_a_warm_start_as_long_as_the_run_is_an_error() -> None:
    with pytest.raises(UserError, match="warm_steps"):
        tiny(steps=10, warm_steps=10)
    assert tiny(steps=1_100_000).warm_steps == 100_000


def test_sample_starts_draws_every_first_row_and_no_other() -> None:
    rows = toys.random_rows(40, 1, 1)._replace(obs=jnp.arange(40.0)[:, None])
    data = toys.data_of(rows)._replace(is_first=jnp.arange(40) % 8 == 3)
    starts = np.asarray(sample_starts(data, jax.random.key(0), 500))[:, 0]
    assert set(starts.tolist()) == {3.0, 11.0, 19.0, 27.0, 35.0}
    own = data._replace(own=Interval(jnp.array(10), jnp.array(18)))  # rows 10 to 27
    starts = np.asarray(sample_starts(own, jax.random.key(0), 500))[:, 0]
    assert set(starts.tolist()) == {11.0, 19.0, 27.0}
