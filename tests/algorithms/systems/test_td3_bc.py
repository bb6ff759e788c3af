"""TD3+BC: losses by hand, delayed actor and targets, normalized observations, and what it learns."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.algorithms.systems import td3_bc
from offline_mbrl.algorithms.systems.td3_bc import TD3BC, TD3BCConfig, TD3BCState
from offline_mbrl.nn.networks import Params
from offline_mbrl.nn.train_state import TrainState, polyak
from offline_mbrl.training.loop import compile_program
from offline_mbrl.types import Array, Data, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(3, 2)
KEY = jax.random.key(0)


def make(**settings: Any) -> Algorithm:
    return td3_bc.build(PROBLEM, config(**settings), 100)


def config(**settings: Any) -> TD3BCConfig:
    return TD3BCConfig(**({"hidden": (8, 8), "batch_size": 6} | settings))


def data(count: int = 64) -> Data:
    """Observations in units of 1 and 20, and one that never changes."""
    rows, scale, shift = toys.random_rows(count, 3, 2), jnp.array([1.0, 20.0, 0.0]), jnp.array([0.0, 5.0, 3.0])
    return toys.data_of(rows._replace(obs=rows.obs * scale + shift, next_obs=rows.next_obs * scale + shift))


def by_hand(**settings: Any) -> tuple[TD3BC, TD3BCState, Transition]:
    """s and a are numbers: pi(s) = tanh(s), Q_1 = s + a, Q_2 = 2 s - a; pibar(s) = 0, Qbar_1 = s, Qbar_2 = s^ + a."""
    td3 = td3_bc.make(toys.endless(1, 1), config(hidden=(), policy_noise=0.0, discount=0.5, **settings))
    critic, target = toys.linear_critics([[1.0, 1.0], [2.0, -1.0]]), toys.linear_critics([[1.0, 0.0], [3.0, 1.0]])
    actor, target_actor = toys.linear([[1.0]], [0.0]), toys.linear([[0.0]], [0.0])
    state = TD3BCState(
        actor=TrainState.create(actor, td3.actor_optimizer),
        critic=TrainState.create(critic, td3.critic_optimizer),
        target_actor=target_actor,
        target_critic=target,
        observations=toys.identity(1),
    )
    column = jnp.array([[1.0], [-2.0]])
    batch = Transition(column, jnp.array([[0.5], [0.0]]), jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0]), column)
    return td3, state, batch


def test_target_by_hand() -> None:
    """1 + 0.5 min(1, 3); the terminal row keeps its reward."""
    td3, state, batch = by_hand()
    assert td3_bc.bellman_target(td3, state, batch, KEY).tolist() == [1.5, -1.0]


def test_the_targets_action_is_the_target_policys_with_noise_within_its_clip() -> None:
    td3, state, batch = by_hand()
    noisy = replace(td3, config=td3.config.model_copy(update={"policy_noise": 100.0, "noise_clip": 0.25}))
    # Where Qbar_2 = -4 s + 4 a is the smaller, y = 1 + 0.5 (-4 + 4 a) with a = -0.25 or 0.25.
    state = state.replace(target_critic=toys.linear_critics([[1.0, 0.0], [-4.0, 4.0]]))
    targets = {round(float(td3_bc.bellman_target(noisy, state, batch, jax.random.key(i))[0]), 6) for i in range(8)}
    assert targets == {-1.5, -0.5}


def test_critic_loss_by_hand_plain_jitted_and_over_seeds() -> None:
    """Q_1 = 1.5, -2 and Q_2 = 1.5, -4 against 0.5, -1."""
    td3, state, batch = by_hand()

    def loss(target: Array) -> Array:
        return td3_bc.critic_loss(td3, state.critic.params, batch, target)[0]

    target, expected = jnp.array([0.5, -1.0]), (1 + 1) / 2 + (1 + 9) / 2
    assert float(loss(target)) == float(jax.jit(loss)(target)) == expected
    assert jax.vmap(loss)(jnp.stack([target, target + 1])).tolist() == [expected, (0 + 4) / 2 + (0 + 16) / 2]


def test_actor_loss_by_hand_plain_jitted_and_over_seeds() -> None:
    """lambda = 2.5 / mean |Q_1|: -lambda mean Q_1 + mean (pi - a)^2, and a scale of Q does not matter."""
    td3, state, batch = by_hand()

    def loss(critic: Params) -> Array:
        return td3_bc.actor_loss(td3, state.actor.params, critic, batch)[0]

    pi = np.tanh([1.0, -2.0])
    q = np.array([1.0, -2.0]) + pi
    expected = -2.5 * q.mean() / np.abs(q).mean() + np.square(pi - [0.5, 0.0]).mean()
    critic = state.critic.params
    assert float(loss(critic)) == pytest.approx(expected, rel=1e-5)
    assert float(jax.jit(loss)(critic)) == pytest.approx(expected, rel=1e-5)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 10 * leaf]), critic)
    np.testing.assert_allclose(jax.vmap(loss)(several), [expected, expected], rtol=1e-5)


def test_the_weight_of_the_value_is_not_differentiated() -> None:
    """In the actor's bias, at s = 0: -lambda dQ_1/da + 2 (pi - a), each row's half, and pi' = 1 there."""
    td3, state, batch = by_hand()
    batch = batch._replace(obs=jnp.zeros((2, 1)), action=jnp.zeros((2, 1)))
    critic = toys.linear_critics([[0.0, 1.0], [0.0, 0.0]], [4.0, 0.0])
    slope = jax.grad(lambda actor: td3_bc.actor_loss(td3, actor, critic, batch)[0])(state.actor.params)
    np.testing.assert_allclose(slope["MLP_0"]["Dense_0"]["bias"], [-2.5 / 4], rtol=1e-6)


def test_each_update_moves_its_own_part() -> None:
    td3, state, batch = by_hand(tau=0.25)
    critic, _ = td3_bc.update_critic(td3, state, batch, KEY)
    actor, _ = td3_bc.update_actor(td3, state, batch)
    targets = td3_bc.update_targets(td3, state)
    parts = ("actor", "critic", "target_actor", "target_critic")
    changed = [[part for part in parts if toys.differ(getattr(s, part), getattr(state, part))] for s in (critic, actor)]
    assert changed == [["critic"], ["actor"]]
    toys.assert_close(targets.target_critic, toys.linear_critics([[1.0, 0.25], [2.75, 0.5]]))
    toys.assert_close(targets.target_actor, toys.linear([[0.25]], [0.0]))


def test_target_actions_are_smoothed_within_both_clips() -> None:
    action, noise = jnp.array([0.0, 0.9, -0.9, 0.3]), jnp.array([2.0, 0.3, -0.1, -0.2])
    np.testing.assert_allclose(td3_bc.smoothed_action(action, noise, 0.5), [0.5, 1.0, -1.0, 0.1], rtol=1e-6)


def test_observations_are_standardized_with_a_margin_for_training_and_acting() -> None:
    algorithm, rows = make(), data()
    state: TD3BCState = algorithm.init(KEY, rows, {})
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
    rescaled, update = algorithm.init(KEY, other, {}), jax.jit(algorithm.update)
    for _ in range(2):
        state = update(state, algorithm.sample(state, rows, KEY), KEY)[0]
        rescaled = update(rescaled, algorithm.sample(rescaled, other, KEY), KEY)[0]
    one = rows.transitions.obs[0]
    np.testing.assert_allclose(
        algorithm.act(state, one, KEY, True), algorithm.act(rescaled, move(one), KEY, True), rtol=1e-2, atol=2e-3
    )


def test_actor_and_targets_move_once_for_two_critic_steps_on_rows_of_their_own() -> None:
    """Rebuilt from its parts: both critic steps see the old targets and the old target policy."""
    algorithm, rows = make(tau=0.3), data()
    before: TD3BCState = algorithm.init(KEY, rows, {})
    batch = algorithm.sample(before, rows, jax.random.key(5))
    assert batch.obs.shape == (2, 6, 3)
    assert toys.differ(batch.obs[0], batch.obs[1])  # not the same rows twice
    after, metrics = jax.jit(algorithm.update)(before, batch, KEY)
    counts = [state.opt_state[0].count for state in (after.critic, after.actor)]
    assert [int(count) for count in counts] == [2, 1]

    single = make(tau=0.3, actor_every=1)
    first = single.update(before, jax.tree.map(lambda leaf: leaf[:1], batch), KEY)[0]
    assert toys.differ(first.critic.params, after.critic.params)
    for target, old, online in (
        (after.target_critic, before.target_critic, after.critic.params),
        (after.target_actor, before.target_actor, after.actor.params),
    ):
        toys.assert_close(target, polyak(old, online, 0.3), rtol=1e-5, atol=1e-7)
    assert set(metrics) == {"critic_loss", "q", "target", "actor_loss", "bc_loss"}


def test_targets_do_not_move_between_the_two_critic_steps() -> None:
    """Two steps on the same rows, without noise, have the same targets."""
    algorithm, rows = make(policy_noise=0.0, batch_size=64, tau=1.0), data()
    state: TD3BCState = algorithm.init(KEY, rows, {})
    half = algorithm.sample(state, rows, KEY)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf[0], leaf[0]]), half)
    once = make(policy_noise=0.0, batch_size=64, tau=1.0, actor_every=1)
    expected = once.update(state, jax.tree.map(lambda leaf: leaf[:1], half), KEY)[1]["target"]
    np.testing.assert_allclose(algorithm.update(state, twice, KEY)[1]["target"], expected, rtol=1e-5)


def test_only_the_first_critic_moves_the_actor() -> None:
    algorithm, rows = make(critic_lr=1e-12, value_weight=2.5), data()
    state: TD3BCState = algorithm.init(KEY, rows, {})
    batch = algorithm.sample(state, rows, KEY)

    def with_critic(place: int) -> TD3BCState:
        shifted = jax.tree.map(lambda leaf: leaf.at[place].multiply(-1.5), state.critic.params)
        after: TD3BCState = algorithm.update(state.replace(critic=state.critic.replace(params=shifted)), batch, KEY)[0]
        return after

    plain = algorithm.update(state, batch, KEY)[0]
    assert not toys.differ(with_critic(1).actor.opt_state, plain.actor.opt_state)
    assert toys.differ(with_critic(0).actor.opt_state, plain.actor.opt_state)


def test_a_million_steps_are_a_million_critic_steps_and_half_as_many_of_the_actor() -> None:
    program = compile_program(make(), 10)
    state = program.init(KEY[None], data(), {})
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
    config = TD3BCConfig(hidden=(16, 16), batch_size=64, actor_lr=3e-3, critic_lr=3e-3, value_weight=value_weight)
    algorithm = td3_bc.build(toys.endless(1, 1), config, 1000)
    state, _ = toys.train(algorithm, toys.bandit(obs, action, -np.square(action[:, 0] - 0.5)), 1000)
    chosen = toys.actions(algorithm.act, state, jnp.linspace(-1, 1, 9)[:, None])
    assert chosen.mean() == pytest.approx(expected, abs=0.15)
