"""TD3+BC: losses by hand, delayed actor and targets, normalized observations, and what it learns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.algorithms.systems import td3_bc
from offline_mbrl.algorithms.systems.td3_bc import TD3BCConfig, TD3BCState
from offline_mbrl.keys import stream
from offline_mbrl.nn.train_state import polyak
from offline_mbrl.training.loop import compile_program
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

pytestmark = pytest.mark.medium

PROBLEM = Problem(3, 2, lambda obs: jnp.zeros(obs.shape[:-1], bool))
KEY = jax.random.key(0)


def make(**settings: Any) -> Algorithm:
    return td3_bc.build(PROBLEM, TD3BCConfig(**({"hidden": (8, 8), "batch_size": 6} | settings)), 100)


def data(rows: int = 64) -> Data:
    generator = np.random.default_rng(0)
    obs = generator.normal(size=(2, rows, 3)) * [1.0, 20.0, 0.0] + [0.0, 5.0, 3.0]
    parts = (obs[0], generator.uniform(-1, 1, (rows, 2)), generator.normal(size=rows), np.arange(rows) % 3 > 0, obs[1])
    made = Transition(*(jnp.asarray(part, jnp.float32) for part in parts))
    return Data(made, jnp.zeros(rows), jnp.zeros(rows, bool), jnp.ones(rows, bool))


def differ(x: Any, y: Any) -> bool:
    return any(bool((a != b).any()) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


def test_target_and_critic_loss_by_hand_plain_jitted_and_over_seeds() -> None:
    batch = data(2).transitions._replace(reward=jnp.array([1.0, -1.0]), discount=jnp.array([1.0, 0.0]))
    next_q, q = jnp.array([[4.0, 5.0], [3.0, 6.0]]), jnp.array([[3.0, 0.0], [4.0, -2.0]])
    target = td3_bc.bellman_target(batch, next_q, 0.5)
    assert target.tolist() == [2.5, -1.0]  # 1 + 0.5 * min(4, 3); the terminal row keeps its reward
    assert float(td3_bc.critic_loss(q, target)) == (0.25 + 1.0) / 2 + (2.25 + 1.0) / 2
    assert float(jax.jit(td3_bc.critic_loss)(q, target)) == 2.25
    assert jax.vmap(td3_bc.critic_loss, in_axes=(0, None))(jnp.stack([q, q + 1]), target).tolist() == [
        2.25,
        (2.25 + 4.0) / 2 + (6.25 + 0.0) / 2,
    ]


def test_actor_loss_by_hand_plain_jitted_and_over_seeds() -> None:
    """lambda = 2.5 / mean(1, 3) = 1.25: -1.25 * mean(1, -3) + mean(0.25, 0, 1, 0)."""
    q, policy, action = jnp.array([1.0, -3.0]), jnp.array([[0.5, 0.0], [1.0, 0.0]]), jnp.zeros((2, 2))
    expected = 1.25 * 1.0 + 1.25 / 4
    assert float(td3_bc.actor_loss(q, policy, action, 2.5)) == pytest.approx(expected)
    assert float(jax.jit(td3_bc.actor_loss)(q, policy, action, 2.5)) == pytest.approx(expected)
    several = jax.vmap(td3_bc.actor_loss, in_axes=(0, None, None, None))(jnp.stack([q, 10 * q]), policy, action, 2.5)
    np.testing.assert_allclose(several, [expected, expected], rtol=1e-6)  # the weight undoes the scale of Q


def test_the_weight_of_the_value_is_not_differentiated() -> None:
    slope = jax.grad(td3_bc.actor_loss)(jnp.array([1.0, -3.0]), jnp.zeros((2, 1)), jnp.zeros((2, 1)), 2.5)
    np.testing.assert_allclose(slope, [-0.625, -0.625], rtol=1e-6)


def test_target_actions_are_smoothed_within_both_clips() -> None:
    action, noise = jnp.array([0.0, 0.9, -0.9, 0.3]), jnp.array([2.0, 0.3, -0.1, -0.2])
    np.testing.assert_allclose(td3_bc.smoothed_action(action, noise, 0.5), [0.5, 1.0, -1.0, 0.1], rtol=1e-6)


def test_observations_are_standardized_with_a_margin_for_training_and_acting() -> None:
    algorithm, rows = make(), data()
    state: TD3BCState = algorithm.init(KEY, rows, None)
    obs = np.asarray(rows.transitions.obs)
    np.testing.assert_allclose(state.observations.mean, obs.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(state.observations.std, obs.std(axis=0) + 1e-3, rtol=1e-5, atol=1e-6)
    # Data and observations in other units give the same policy and the same training.
    scale, shift = jnp.array([3.0, 0.1, 1.0]), jnp.array([7.0, 0.0, 0.0])

    def move(x: Array) -> Array:
        return x * scale + shift

    other = rows._replace(
        transitions=rows.transitions._replace(obs=move(rows.transitions.obs), next_obs=move(rows.transitions.next_obs))
    )
    moved = algorithm.init(KEY, other, None)
    for _ in range(2):
        state = algorithm.update(state, algorithm.sample(state, rows, KEY), KEY)[0]
        moved = algorithm.update(moved, algorithm.sample(moved, other, KEY), KEY)[0]
    one = rows.transitions.obs[0]
    np.testing.assert_allclose(
        algorithm.act(state, one, KEY, True), algorithm.act(moved, move(one), KEY, True), rtol=1e-2, atol=2e-3
    )


def test_actor_and_targets_move_once_for_two_critic_steps_on_rows_of_their_own() -> None:
    """Rebuilt from its parts: both critic steps see the old targets and the old target policy."""
    config = TD3BCConfig(hidden=(8, 8), batch_size=6, tau=0.3)
    algorithm, rows = td3_bc.build(PROBLEM, config, 100), data()
    before: TD3BCState = algorithm.init(KEY, rows, None)
    batch = algorithm.sample(before, rows, jax.random.key(5))
    assert batch.obs.shape == (2, 6, 3)
    assert differ(batch.obs[0], batch.obs[1])  # not the same rows twice
    after, metrics = jax.jit(algorithm.update)(before, batch, KEY)
    counts = [state.opt_state[0].count for state in (after.critic, after.actor)]
    assert [int(count) for count in counts] == [2, 1]

    single = td3_bc.build(PROBLEM, config.model_copy(update={"actor_every": 1}), 100)
    first = single.update(before, jax.tree.map(lambda leaf: leaf[:1], batch), KEY)[0]
    assert differ(first.critic.params, after.critic.params)
    for target, old, online in (
        (after.target_critic, before.target_critic, after.critic.params),
        (after.target_actor, before.target_actor, after.actor.params),
    ):
        for leaf, expected in zip(jax.tree.leaves(target), jax.tree.leaves(polyak(old, online, 0.3)), strict=True):
            np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-7)
    assert set(metrics) == {"critic_loss", "q", "target", "actor_loss", "bc_loss"}


def test_targets_do_not_move_between_the_two_critic_steps() -> None:
    """Two steps on the same rows, without noise, have the same targets."""
    algorithm, rows = make(policy_noise=0.0, batch_size=64, tau=1.0), data()
    state: TD3BCState = algorithm.init(KEY, rows, None)
    half = algorithm.sample(state, rows, KEY)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf[0], leaf[0]]), half)
    once = make(policy_noise=0.0, batch_size=64, tau=1.0, actor_every=1)
    expected = once.update(state, jax.tree.map(lambda leaf: leaf[:1], half), KEY)[1]["target"]
    np.testing.assert_allclose(algorithm.update(state, twice, KEY)[1]["target"], expected, rtol=1e-5)


def test_only_the_first_critic_moves_the_actor() -> None:
    algorithm, rows = make(critic_lr=1e-12, value_weight=2.5), data()
    state: TD3BCState = algorithm.init(KEY, rows, None)
    batch = algorithm.sample(state, rows, KEY)

    def with_critic(place: int) -> TD3BCState:
        shifted = jax.tree.map(lambda leaf: leaf.at[place].multiply(-1.5), state.critic.params)
        moved: TD3BCState = algorithm.update(state.replace(critic=state.critic.replace(params=shifted)), batch, KEY)[0]
        return moved

    plain = algorithm.update(state, batch, KEY)[0]
    assert not differ(with_critic(1).actor.opt_state, plain.actor.opt_state)
    assert differ(with_critic(0).actor.opt_state, plain.actor.opt_state)


def test_a_million_steps_are_a_million_critic_steps_and_half_as_many_of_the_actor() -> None:
    program = compile_program(make(), 10)
    state = program.init(KEY[None], data(), None)
    state, _ = program.advance(state, data(), KEY[None], 0)
    assert state.critic.opt_state[0].count.tolist() == [10]
    assert state.actor.opt_state[0].count.tolist() == [5]


@pytest.mark.parametrize(("value_weight", "expected"), [(0.0, 0.0), (2.5, 0.5)])
def test_it_leaves_the_mean_of_the_data_for_better_actions(value_weight: float, expected: float) -> None:
    """A bandit: uniform data actions, reward -(a - 0.5)^2. Without the value it clones their mean, 0; with it a > 0.

    Its optimum: max lambda Q(a) - a^2 with lambda Q = -2.5 (a - 0.5)^2 / mean |Q| pulls a close to 0.5.
    """
    generator = np.random.default_rng(0)
    obs, action = generator.normal(size=(500, 1)), generator.uniform(-1, 1, (500, 1))
    parts = (obs, action, -np.square(action[:, 0] - 0.5), np.zeros(500), obs)
    rows = Data(
        Transition(*(jnp.asarray(p, jnp.float32) for p in parts)),
        jnp.zeros(500),
        jnp.zeros(500, bool),
        jnp.ones(500, bool),
    )
    config = TD3BCConfig(hidden=(16, 16), batch_size=64, actor_lr=3e-3, critic_lr=3e-3, value_weight=value_weight)
    algorithm = td3_bc.build(Problem(1, 1, PROBLEM.terminates), config, 1000)

    def step(state: TD3BCState, key: Key) -> tuple[TD3BCState, Metrics]:
        state, metrics = algorithm.update(state, algorithm.sample(state, rows, stream(key, "rows")), key)
        return state, metrics

    run = jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(KEY, 500))[0])
    state = run(algorithm.init(KEY, rows, None))
    chosen: Array = jax.vmap(lambda o: algorithm.act(state, o, KEY, True))(jnp.linspace(-1, 1, 9)[:, None])
    assert float(chosen.mean()) == pytest.approx(expected, abs=0.15)
