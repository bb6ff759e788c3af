"""Soft actor-critic by hand: targets, losses, gradients, the order of its steps, and its entropy on a bandit."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig, SACState
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import Params
from offline_mbrl.nn.train_state import TrainState, polyak
from offline_mbrl.types import Array, Key, Metrics, Transition
from tests.algorithms import toys

PROBLEM = toys.endless(3, 2)
KEY = jax.random.key(7)


def system(**settings: Any) -> SAC:
    return sac.make(PROBLEM, SACConfig(hidden=(8, 8), batch_size=6, **settings), steps=100)


def batch() -> Transition:
    return toys.random_rows(6, 3, 2)


def moved(agent: SAC) -> SACState:
    """A state in which critics and targets differ and alpha is not 1."""
    state = sac.init(agent, KEY)
    other = sac.init(agent, jax.random.key(8))
    return state.replace(target=other.critic.params, log_alpha=state.log_alpha.replace(params=jnp.array(-0.7)))


def test_targets_start_as_the_critics_without_sharing_their_memory() -> None:
    state = jax.jit(partial(sac.init, system()))(KEY)
    assert not toys.differ(state.target, state.critic.params)
    jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + 0, s), donate_argnums=0)(state)  # would fail on aliases


def test_target_by_hand() -> None:
    """y = r + gamma d (min_k Qbar_k(s', a') - alpha log pi(a'|s')), with the target critics and the sampled a'."""
    made, rows = system(discount=0.9), batch()
    state = moved(made)
    action, log_prob = sac.sample_action(made, state.actor.params, rows.next_obs, KEY)
    q = np.asarray(sac.q_values(made, state.target, rows.next_obs, action))
    soft = np.minimum(q[0], q[1]) - np.exp(-0.7) * np.asarray(log_prob)
    expected = np.asarray(rows.reward) + 0.9 * np.asarray(rows.discount) * soft
    for target in (sac.bellman_target, jax.jit(sac.bellman_target, static_argnums=0)):
        np.testing.assert_allclose(target(made, state, rows, KEY), expected, rtol=1e-4, atol=1e-5)
    hard = sac.bellman_target(system(discount=0.9, entropy_in_target=False), state, rows, KEY)
    bare = np.asarray(rows.reward) + 0.9 * np.asarray(rows.discount) * np.minimum(q[0], q[1])
    np.testing.assert_allclose(hard, bare, rtol=1e-4, atol=1e-5)


def test_terminals_are_not_bootstrapped_and_time_outs_are() -> None:
    """A time-out carries discount 1 and is any other row; at a discount of 0 the value of s' plays no part."""
    made, rows = system(), batch()
    state = moved(made)
    y = np.asarray(sac.bellman_target(made, state, rows, KEY))
    elsewhere = np.asarray(sac.bellman_target(made, state, rows._replace(next_obs=rows.next_obs + 5.0), KEY))
    terminal = np.asarray(rows.discount) == 0
    np.testing.assert_array_equal(y[terminal], np.asarray(rows.reward)[terminal])
    np.testing.assert_array_equal(y[terminal], elsewhere[terminal])
    assert (np.abs(y - elsewhere)[~terminal] > 1e-4).all()


def test_critic_loss_by_hand_plain_jitted_and_over_seeds() -> None:
    made, rows, target = system(), batch(), jnp.linspace(-1, 1, 6)
    states = jax.vmap(partial(sac.init, made))(jax.random.split(KEY, 2))

    def loss(critic: Params) -> Array:
        return sac.critic_loss(made, critic, rows, target)[0]

    expected = []
    for seed in range(2):
        critic = jax.tree.map(lambda leaf, seed=seed: leaf[seed], states.critic.params)
        q = np.asarray(sac.q_values(made, critic, rows.obs, rows.action), np.float64)
        expected.append(sum(((q[k, b] - float(target[b])) ** 2) / 6 for k in range(2) for b in range(6)))
        assert float(loss(critic)) == pytest.approx(expected[seed], rel=1e-5)
        assert float(jax.jit(loss)(critic)) == pytest.approx(expected[seed], rel=1e-5)
    np.testing.assert_allclose(jax.vmap(loss)(states.critic.params), expected, rtol=1e-5)


def test_actor_loss_by_hand() -> None:
    """mean [alpha log pi - min_k Q_k] on the online critics, not on their targets."""
    made, rows = system(), batch()
    state = moved(made)
    action, log_prob = sac.sample_action(made, state.actor.params, rows.obs, KEY)
    q = np.asarray(sac.q_values(made, state.critic.params, rows.obs, action))
    expected = np.mean(np.exp(-0.7) * np.asarray(log_prob) - q.min(axis=0))
    loss, entropy = sac.actor_loss(made, state.actor.params, state, rows.obs, KEY)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    assert float(entropy) == pytest.approx(float(log_prob.mean()), rel=1e-5)


def test_the_actor_loss_is_differentiated_through_the_sampled_action() -> None:
    """Against a central difference of the same draw along a random direction."""
    made, rows = system(), batch()
    state = moved(made)

    def loss(params: Params) -> Array:
        return sac.actor_loss(made, params, state, rows.obs, KEY)[0]

    def shift(size: float) -> Params:
        return jax.tree.map(lambda p, d: p + size * d, state.actor.params, direction)

    grads = jax.grad(loss)(state.actor.params)
    direction = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32)).reshape(leaf.shape), grads)
    slope = (float(loss(shift(1e-2))) - float(loss(shift(-1e-2)))) / 2e-2
    along = sum(float((g * d).sum()) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
    assert along == pytest.approx(slope, rel=0.05)


def test_the_critic_loss_gives_no_gradient_to_actor_targets_or_temperature() -> None:
    made, rows = system(), batch()

    def loss(state: SACState) -> Array:
        return sac.critic_loss(made, state.critic.params, rows, sac.bellman_target(made, state, rows, KEY))[0]

    grads = jax.grad(loss, allow_int=True)(moved(made))
    for part in (grads.actor.params, grads.target, grads.log_alpha.params):
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(part))
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads.critic.params))


@pytest.mark.parametrize(("log_prob", "falls"), [(-5.0, True), (5.0, False)])
def test_temperature_falls_where_entropy_exceeds_its_goal(log_prob: float, falls: bool) -> None:
    """The goal is -2: at log pi = -5 the entropy is 5, too much; at log pi = 5 it is -5, too little."""
    grad = float(jax.grad(sac.temperature_loss)(jnp.array(0.3), jnp.array(log_prob), -2.0))
    assert grad == pytest.approx(-(log_prob - 2.0))
    assert (grad > 0) is falls


def test_alpha_is_clamped_or_fixed() -> None:
    state = sac.init(system(), KEY).replace(log_alpha=TrainState(jnp.array(2.0), None))
    assert float(sac.alpha(system(), state)) == 1.0
    assert float(sac.alpha(system(temperature_max=None), state)) == pytest.approx(np.exp(2.0))
    assert float(sac.alpha(system(temperature=0.2), state)) == pytest.approx(0.2)
    assert float(sac.alpha(system(temperature=0.0), state)) == 0.0


def test_the_entropy_goal_is_minus_the_action_dimension_unless_given() -> None:
    assert system().target_entropy == -2.0
    assert system(target_entropy=-3.0).target_entropy == -3.0


def test_a_step_is_critics_then_actor_on_the_new_critics_then_temperature_then_targets() -> None:
    """Rebuilt from its parts in the documented order; every other order gives other weights."""
    made, rows = system(actor_lr=0.01, critic_lr=0.01, temperature_lr=0.01, tau=0.3), batch()
    before = moved(made)
    after, metrics = jax.jit(partial(sac.update, made))(before, rows, KEY)

    target = sac.bellman_target(made, before, rows, stream(KEY, "target"))
    grads = jax.grad(lambda critic: sac.critic_loss(made, critic, rows, target)[0])(before.critic.params)
    critic = before.critic.step(grads, made.critic_optimizer)
    actor_key, middle = stream(KEY, "actor"), before.replace(critic=critic)
    actor_grads, log_prob = jax.grad(sac.actor_loss, argnums=1, has_aux=True)(
        made, before.actor.params, middle, rows.obs, actor_key
    )
    actor = before.actor.step(actor_grads, made.actor_optimizer)
    slope = jax.grad(sac.temperature_loss)(before.log_alpha.params, log_prob, made.target_entropy)
    log_alpha = before.log_alpha.step(slope, made.temperature_optimizer)

    toys.assert_close(after.critic.params, critic.params)
    toys.assert_close(after.actor.params, actor.params)
    toys.assert_close(after.log_alpha.params, log_alpha.params)
    toys.assert_close(after.target, polyak(before.target, critic.params, 0.3))
    old = jax.grad(sac.actor_loss, argnums=1, has_aux=True)(made, before.actor.params, before, rows.obs, actor_key)[0]
    stale = before.actor.step(old, made.actor_optimizer)
    # Adam's first step hides a gradient's size; its moments show it.
    toys.assert_close(after.actor.opt_state, actor.opt_state)
    with pytest.raises(AssertionError):
        toys.assert_close(after.actor.opt_state, stale.opt_state)
    assert set(metrics) == {"critic_loss", "q", "target", "actor_loss", "entropy", "alpha"}


def test_actions() -> None:
    made = system()
    state, obs = sac.init(made, KEY), jnp.ones((4, 3))
    mean, _ = made.actor.apply({"params": state.actor.params}, obs)
    np.testing.assert_allclose(sac.act(made, state.actor.params, obs, KEY, True), jnp.tanh(mean), rtol=1e-6)
    drawn = sac.act(made, state.actor.params, obs, KEY, False)
    assert drawn.shape == (4, 2)
    assert np.abs(np.asarray(drawn)).max() < 1
    assert toys.differ(drawn, sac.act(made, state.actor.params, obs, jax.random.key(1), False))


def bandit(target_entropy: float, steps: int = 3000) -> Metrics:
    """SAC on one state whose reward is -2 |a - 0.3|^2: metrics of every step."""
    config = SACConfig(
        hidden=(16, 16),
        discount=0.0,
        actor_lr=3e-3,
        actor_lr_decay=False,
        critic_lr=3e-3,
        temperature_lr=3e-3,
        target_entropy=target_entropy,
    )
    made = sac.make(PROBLEM, config, steps)

    def step(state: SACState, key: Key) -> tuple[SACState, Metrics]:
        obs, action = jnp.zeros((64, 3)), jax.random.uniform(stream(key, "data"), (64, 2), minval=-1, maxval=1)
        rows = Transition(obs, action, -2 * jnp.square(action - 0.3).sum(-1), jnp.ones(64), obs)
        return sac.update(made, state, rows, key)

    run = jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(KEY, steps))[1])
    metrics: Metrics = run(sac.init(made, KEY))
    return metrics


@pytest.mark.medium
@pytest.mark.parametrize("goal", [-1.0, 0.0])
def test_the_entropy_goal_is_reached_on_a_bandit(goal: float) -> None:
    metrics = bandit(goal)
    assert float(metrics["entropy"][0]) > goal + 0.4
    assert float(metrics["entropy"][-500:].mean()) == pytest.approx(goal, abs=0.1)
    assert 0 < float(metrics["alpha"][-1]) < 1
