"""IQL: losses by hand, the order of its step, its reward scale, and its expectile."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.algorithms.systems import iql
from offline_mbrl.algorithms.systems.iql import IQL, IQLConfig, IQLState
from offline_mbrl.nn.networks import MLP, Params, critic_ensemble
from offline_mbrl.nn.train_state import TrainState, polyak
from offline_mbrl.types import Array, Data, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(3, 2)
KEY = jax.random.key(0)


def make(**settings: Any) -> Algorithm:
    return iql.build(PROBLEM, IQLConfig(**({"hidden": (8, 8), "batch_size": 32} | settings)), 100)


def data() -> Data:
    """Four episodes of ten rows; some actions lie on the border of the box."""
    rows = toys.random_rows(40, 3, 2)
    action = jnp.round((1.4 * rows.action).clip(-1, 1), 3)
    return toys.data_of(rows._replace(action=action), jnp.repeat(jnp.array([-10.0, 5.0, 30.0, 0.0]), 10))


def by_hand(**settings: Any) -> tuple[IQL, IQLState, Transition]:
    """s and a are numbers: pi(s) = N(0, 1), V(s) = s, Q_1 = s + a, Q_2 = 2 s; Qbar_1 = 2 s + a, Qbar_2 = 4."""
    config = IQLConfig.model_validate({"hidden": (), "discount": 0.5, "expectile": 0.75} | settings)
    static = iql.make(toys.endless(1, 1), config, 100)
    critic, target = (
        toys.linear_critics([[1.0, 1.0], [2.0, 0.0]]),
        toys.linear_critics([[2.0, 1.0], [0.0, 0.0]], [0.0, 4.0]),
    )
    value = toys.linear([[1.0]], [0.0])["MLP_0"]
    actor = toys.linear([[0.0]], [0.0]) | {"log_std": jnp.zeros(1)}
    state = IQLState(
        actor=TrainState.create(actor, static.actor_optimizer),
        value=TrainState.create(value, static.value_optimizer),
        critic=TrainState.create(critic, static.critic_optimizer),
        target=target,
        reward_scale=jnp.ones(()),
    )
    column = jnp.array([[1.0], [3.0]])
    batch = Transition(column, jnp.array([[0.5], [0.0]]), jnp.array([1.0, 1.0]), jnp.array([1.0, 0.0]), 2 * column)
    return static, state, batch


def test_rewards_are_scaled_so_that_returns_span_a_thousand() -> None:
    rows = data()
    assert float(iql.reward_scale(rows.episode_return, 1000.0)) == 25.0
    assert float(iql.reward_scale(rows.episode_return, None)) == 1.0
    assert float(iql.reward_scale(jnp.ones(5), 1000.0)) == 1.0
    algorithm = make()
    state = algorithm.init(KEY, rows, {})
    batch = algorithm.sample(state, rows, KEY)
    known = set(np.asarray(25 * rows.transitions.reward).tolist())
    assert set(np.asarray(batch.reward).tolist()) <= known


def test_actions_are_pulled_inside_the_box() -> None:
    rows = data()
    assert float(jnp.abs(rows.transitions.action).max()) == 1.0
    batch = make(batch_size=500).sample(make().init(KEY, rows, {}), rows, KEY)
    assert float(jnp.abs(batch.action).max()) == pytest.approx(1 - 1e-5, abs=1e-7)
    assert float(jnp.abs(batch.action).max()) < 1


def test_expectile_loss_by_hand_plain_jitted_and_over_seeds() -> None:
    u = jnp.array([2.0, -1.0, 0.0, -3.0])
    expected = (0.7 * 4 + 0.3 * 1 + 0.3 * 9) / 4
    assert float(iql.expectile_loss(u, 0.7)) == pytest.approx(expected)
    assert float(jax.jit(iql.expectile_loss)(u, 0.7)) == pytest.approx(expected)
    several = jax.vmap(iql.expectile_loss, in_axes=(0, None))(jnp.stack([u, -u]), 0.7)
    np.testing.assert_allclose(several, [expected, (0.3 * 4 + 0.7 * 1 + 0.7 * 9) / 4], rtol=1e-6)


def test_half_an_expectile_is_the_mean_and_more_is_above_it() -> None:
    """The minimizing v over samples 0, 0, 0, 4: their mean 1 at 0.5, and (0.9 * 4) / (0.9 + 0.3) = 3 at 0.9."""
    samples, grid = jnp.array([0.0, 0.0, 0.0, 4.0]), jnp.linspace(0, 4, 4001)

    def best(tau: float) -> float:
        return float(grid[jax.vmap(lambda v: iql.expectile_loss(samples - v, tau))(grid).argmin()])

    assert best(0.5) == pytest.approx(1.0, abs=2e-3)
    assert best(0.9) == pytest.approx(3.0, abs=2e-3)


def test_weights_are_exponentiated_clipped_and_not_differentiated() -> None:
    advantage = jnp.array([0.0, 1.0, 10.0, -1.0])
    weight = iql.advantage_weight(advantage, 3.0, 100.0)
    np.testing.assert_allclose(weight, [1.0, np.exp(3.0), 100.0, np.exp(-3.0)], rtol=1e-5)
    assert not np.asarray(jax.jacobian(lambda a: iql.advantage_weight(a, 3.0, 100.0))(advantage)).any()
    assert np.isfinite(np.asarray(iql.advantage_weight(jnp.array([1e6]), 3.0, 100.0))).all()


def test_log_probability_is_that_of_an_unsquashed_gaussian() -> None:
    mean, log_std, action = np.array([0.2, -0.4]), np.array([-1.0, 0.3]), np.array([0.9, 0.1])
    expected = (-0.5 * ((action - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)).sum()
    assert float(iql.log_prob(jnp.asarray(mean), jnp.asarray(log_std), jnp.asarray(action))) == pytest.approx(
        expected, rel=1e-5
    )


def test_value_loss_by_hand() -> None:
    """q = 2.5, 2 against V = 1, 3: 0.75 of 1.5^2 and 0.25 of 1."""
    static, state, batch = by_hand()
    loss = iql.value_loss(static, state.value.params, batch.obs, jnp.array([2.5, 2.0]))
    assert float(loss) == pytest.approx((0.75 * 2.25 + 0.25 * 1.0) / 2)


def test_actor_loss_by_hand() -> None:
    """log N(a; 0, 1) of a = 0.5 and 0, with weights 2 and 4."""
    static, state, batch = by_hand()
    loss = iql.actor_loss(static, state.actor.params, batch, jnp.array([2.0, 4.0]))
    log_probs = np.array([-0.125, 0.0]) - 0.5 * np.log(2 * np.pi)
    assert float(loss) == pytest.approx(-(2 * log_probs[0] + 4 * log_probs[1]) / 2, rel=1e-6)


def test_critic_loss_by_hand() -> None:
    """y = 1 + 0.5 v and 1; Q_1 = 1.5, 3 and Q_2 = 2, 6. V of the next state has no gradient."""
    static, state, batch = by_hand()

    def loss(next_value: Array) -> Array:
        return iql.critic_loss(static, state.critic.params, batch, next_value)[0]

    next_value, expected = jnp.array([2.0, 50.0]), (0.25 + 4) / 2 + (0 + 25) / 2
    assert float(loss(next_value)) == pytest.approx(expected)
    assert float(jax.jit(loss)(next_value)) == pytest.approx(expected)
    assert not np.asarray(jax.grad(loss)(next_value)).any()


def test_each_update_moves_its_own_part() -> None:
    static, state, batch = by_hand(tau=0.25)
    q = jnp.array([2.5, 4.0])
    after = {
        "value": iql.update_value(static, state, batch, q)[0],
        "actor": iql.update_actor(static, state, batch, q)[0],
        "critic": iql.update_critic(static, state, batch)[0],
        "target": iql.update_target(static, state),
    }
    for name, end in after.items():
        assert [part for part in after if toys.differ(getattr(end, part), getattr(state, part))] == [name]
    toys.assert_close(after["target"].target, toys.linear_critics([[1.75, 1.0], [0.5, 0.0]], [0.0, 3.0]))


def test_the_steps_metrics_by_hand() -> None:
    """q = min(2 s + a, 4) = 2.5, 4; V before the step is 1, 3, so that the advantages are 1.5 and 1."""
    static, state, batch = by_hand(value_lr=1e-9, inverse_temperature=2.0, weight_max=10.0)
    _, metrics = iql.update(static, state, batch, KEY)
    assert float(metrics["value_loss"]) == pytest.approx(0.75 * (2.25 + 1.0) / 2, rel=1e-5)
    assert float(metrics["advantage"]) == pytest.approx(1.25, rel=1e-5)
    assert float(metrics["weight"]) == pytest.approx((10.0 + np.exp(2.0)) / 2, rel=1e-5)
    assert float(metrics["critic_loss"]) == pytest.approx((0.25 + 4) / 2 + 25 / 2, rel=1e-5)  # y = 2, 1


def test_networks_start_orthogonal_with_a_state_independent_deviation() -> None:
    state: IQLState = make(hidden=(8, 8)).init(KEY, data(), {})
    kernel = np.asarray(state.value.params["Dense_1"]["kernel"])
    np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(8), atol=1e-5)
    for critic in range(2):
        kernel = np.asarray(state.critic.params["MLP_0"]["Dense_1"]["kernel"][critic])
        np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(8), atol=1e-5)
    assert state.actor.params["log_std"].tolist() == [0.0, 0.0]


def test_a_step_is_value_then_policy_and_critics_on_the_new_value_then_targets() -> None:
    """Rebuilt from its parts; an actor or critic that used the old V would have other moments."""
    algorithm, rows = make(batch_size=16, tau=0.3, value_lr=0.05), data()
    before: IQLState = algorithm.init(KEY, rows, {})
    before = before.replace(target=algorithm.init(jax.random.key(9), rows, {}).critic.params)
    batch = algorithm.sample(before, rows, KEY)
    after, metrics = jax.jit(algorithm.update)(before, batch, KEY)

    value, critic, actor = MLP((8, 8), 1), critic_ensemble(2, (8, 8)), iql.Actor((8, 8), 2)

    def v(params: Params, obs: Array) -> Array:
        return jnp.asarray(value.apply({"params": params}, obs)).squeeze(-1)

    q = jnp.asarray(critic.apply({"params": before.target}, batch.obs, batch.action)).min(axis=0)
    grads = jax.grad(lambda p: iql.expectile_loss(q - v(p, batch.obs), 0.7))(before.value.params)
    new_value = after.value.params
    np.testing.assert_allclose(
        after.value.opt_state[0].mu["Dense_0"]["kernel"], 0.1 * grads["Dense_0"]["kernel"], rtol=1e-3, atol=1e-5
    )

    def actor_moment(v_params: Any) -> np.ndarray:
        weight = jnp.minimum(jnp.exp(3.0 * (q - v(v_params, batch.obs))), 100.0)

        def loss(params: Params) -> Array:
            mean, log_std = map(jnp.asarray, actor.apply({"params": params}, batch.obs))
            return -(weight * iql.log_prob(mean, log_std, batch.action)).mean()

        return np.asarray(0.1 * jax.grad(loss)(before.actor.params)["MLP_0"]["Dense_0"]["kernel"])

    def critic_moment(v_params: Any) -> np.ndarray:
        y = batch.reward + 0.99 * batch.discount * v(v_params, batch.next_obs)

        def loss(params: Params) -> Array:
            q = jnp.asarray(critic.apply({"params": params}, batch.obs, batch.action))
            return jnp.square(q - y).mean(axis=-1).sum()

        return np.asarray(0.1 * jax.grad(loss)(before.critic.params)["MLP_0"]["Dense_0"]["kernel"])

    for moment, adam in ((actor_moment, after.actor.opt_state), (critic_moment, after.critic.opt_state)):
        kernel = adam[0].mu["MLP_0"]["Dense_0"]["kernel"]
        np.testing.assert_allclose(kernel, moment(new_value), rtol=1e-3, atol=1e-4)
        assert np.abs(moment(before.value.params) - moment(new_value)).max() > 1e-3
    toys.assert_close(after.target, polyak(before.target, after.critic.params, 0.3), rtol=1e-5)
    assert set(metrics) == {"value_loss", "actor_loss", "critic_loss", "q", "advantage", "weight"}


def test_actions_are_unsquashed_samples_clipped_to_the_box() -> None:
    algorithm = make()
    state: IQLState = algorithm.init(KEY, data(), {})
    obs = jnp.array([0.3, -0.2, 1.0])
    mean = iql.Actor((8, 8), 2).apply({"params": state.actor.params}, obs)[0]
    np.testing.assert_allclose(algorithm.act(state, obs, KEY, True), mean, rtol=1e-6)
    actions = jax.vmap(lambda key: algorithm.act(state, obs, key, False))(jax.random.split(KEY, 2000))
    assert float(jnp.abs(actions).max()) == 1.0  # std 1 at the start: many samples leave the box
    assert float((jnp.abs(actions) == 1.0).mean()) > 0.1


def test_the_actors_rate_decays_to_nothing() -> None:
    algorithm, rows = iql.build(PROBLEM, IQLConfig(hidden=(8,), batch_size=16), 5), data()
    step = jax.jit(lambda state, key: algorithm.update(state, algorithm.sample(state, rows, key), key)[0])
    state = algorithm.init(KEY, rows, {})
    for turn in range(5):
        state = step(state, jax.random.key(turn))
    last = step(state, KEY)
    assert not toys.differ(state.actor.params, last.actor.params)
    assert toys.differ(state.value.params, last.value.params)


@pytest.mark.parametrize(("inverse_temperature", "expected"), [(0.0, 0.0), (10.0, 0.6)])
def test_the_policy_prefers_the_better_actions_of_the_data(inverse_temperature: float, expected: float) -> None:
    """A bandit whose data act -0.6 or 0.6 and are paid a: without a temperature it clones their mean."""
    generator = np.random.default_rng(0)
    obs, action = generator.normal(size=(400, 3)), 0.6 * np.sign(generator.normal(size=(400, 2)))
    action[:, 1] = 0.0
    rates = {"actor_lr": 3e-3, "value_lr": 3e-3, "critic_lr": 3e-3, "tau": 0.05, "actor_lr_decay": False}
    algorithm = make(inverse_temperature=inverse_temperature, **rates)
    state, _ = toys.train(algorithm, toys.bandit(obs, action, action[:, 0]), 800)
    chosen = toys.actions(algorithm.act, state, jnp.asarray(obs[:50], jnp.float32))
    assert chosen[:, 0].mean() == pytest.approx(expected, abs=0.12)


def start_many_seeds() -> None:
    algorithm = iql.build(PROBLEM, IQLConfig(), 100)
    jax.block_until_ready(jax.jit(jax.vmap(lambda key: algorithm.init(key, data(), {})))(jax.random.split(KEY, 8)))


def test_many_seeds_start_at_once() -> None:
    """At full size: factorizations by LAPACK in the initializers could hang a CPU from four seeds on."""
    script = "from tests.algorithms.systems.test_iql import start_many_seeds; start_many_seeds()"
    subprocess.run([sys.executable, "-c", script], timeout=120, check=True, cwd=Path(__file__).parents[3])
