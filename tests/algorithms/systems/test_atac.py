"""ATAC improves on its data without leaving it, in both forms of pessimism."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm, State
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.systems.atac import ATACConfig, build, init, make, pessimism, update_critic
from offline_mbrl.types import Array, Data, Metrics
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(1, 1)


def bandit(count: int = 2000) -> Data:
    """One-step episodes with reward a; the data's actions are those of N(-0.2, 0.15)."""
    generator = np.random.default_rng(0)
    action = np.clip(generator.normal(-0.2, 0.15, (count, 1)), -1, 1)
    return toys.bandit(generator.normal(size=(count, 1)), action, action[:, 0])


def trained(config: ATACConfig, data: Data, steps: int) -> tuple[Algorithm, State, Metrics]:
    algorithm = build(PROBLEM, config, steps)
    return algorithm, *toys.train(algorithm, data, steps)


def mean_action(algorithm: Algorithm, state: State) -> float:
    return float(toys.actions(algorithm.act, state, jnp.linspace(-1, 1, 21)[:, None]).mean())


SMALL = {"hidden": (16, 16), "batch_size": 64, "slow_lr": 1e-3, "fast_lr": 3e-3}


def gap_of(form: str) -> Array:
    """L of Q_1 = s + a and Q_2 = 3, where the policy acts 0.5, the data -0.25, and every start state is 2."""
    config = ATACConfig.model_validate({"hidden": (), "batch_size": 4, "pessimism": form})
    static, critic = make(PROBLEM, config, 22), toys.linear_critics([[1.0, 1.0], [0.0, 0.0]], [0.0, 3.0])
    state = init(static, jax.random.key(0), bandit(50), {})
    actor = jax.tree.map(jnp.zeros_like, state.learner.actor.params)
    actor["MLP_0"]["Dense_0"]["bias"] = jnp.array([np.arctanh(0.5), -30.0], jnp.float32)
    learner = state.learner.replace(actor=state.learner.actor.replace(params=actor))
    starts = None if state.starts is None else jnp.full((5, 1), 2.0)
    rows = toys.random_rows(4, 1, 1)._replace(action=jnp.full((4, 1), -0.25))
    q = sac.q_values(static.game.agent, critic, rows.obs, rows.action)
    state, action = state.replace(learner=learner, starts=starts), jnp.full((4, 1), 0.5)
    return pessimism(static, state, rows, action, jax.random.key(1))(critic, q)


def test_pessimism_is_relative_to_the_logged_actions_or_to_nothing() -> None:
    np.testing.assert_allclose(gap_of("relative"), [0.75, 0.0], atol=1e-6)
    np.testing.assert_allclose(gap_of("absolute"), [2.5, 3.0], rtol=1e-4)


def test_a_critic_step_goes_down_the_adversarys_loss_and_leaves_the_actor() -> None:
    config = ATACConfig.model_validate({"hidden": (), "batch_size": 4, "warm_steps": 0, "fast_lr": 1e-4})
    static, rows, key = make(PROBLEM, config, 22), toys.random_rows(4, 1, 1), jax.random.key(1)
    state = init(static, key, bandit(300), {})
    action = -rows.action
    after, metrics = update_critic(static, state, rows, action, key)
    again = update_critic(static, after, rows, action, key)[1]
    assert float(again["adversary_loss"]) < float(metrics["adversary_loss"])
    assert not toys.differ(after.learner.actor, state.learner.actor)


def test_the_warm_start_clones_and_the_game_improves_within_the_data() -> None:
    data = bandit()
    clone = trained(ATACConfig(**SMALL, warm_steps=599), data, 600)
    game = trained(ATACConfig(**SMALL, warm_steps=300, bellman_weight=10.0), data, 1200)
    assert mean_action(*clone[:2]) == pytest.approx(-0.2, abs=0.1)
    assert mean_action(*game[:2]) > mean_action(*clone[:2]) + 0.1
    assert mean_action(*game[:2]) < 0.5
    assert all(np.isfinite(value) for value in game[2].values())


def test_with_little_weight_on_the_data_the_policy_stays_nearer_to_it() -> None:
    """beta 0: the critic only argues against the policy, whose best answer is to do as the data do."""
    data = bandit()
    timid, bold = (
        trained(ATACConfig(**SMALL, warm_steps=300, bellman_weight=beta), data, 1200)[:2] for beta in (0.01, 10.0)
    )
    assert mean_action(*timid) < mean_action(*bold) - 0.1


def test_absolute_pessimism_trains_on_start_states() -> None:
    data = bandit(300)
    algorithm, state, metrics = trained(ATACConfig(**SMALL, pessimism="absolute"), data, 44)
    assert state.starts is not None
    assert set(np.asarray(state.starts)[:, 0]) <= set(np.asarray(data.transitions.obs)[:, 0])
    assert all(np.isfinite(value) for value in metrics.values())
    assert abs(mean_action(algorithm, state)) <= 1.0
