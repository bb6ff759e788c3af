"""ATAC improves on its data without leaving it, in both forms of pessimism."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm, State
from offline_mbrl.algorithms.systems.atac import ATACConfig, build
from offline_mbrl.training.loop import advance_seed
from offline_mbrl.types import Data, Metrics, Problem, Transition

pytestmark = pytest.mark.medium

PROBLEM = Problem(1, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))


def bandit(count: int = 2000) -> Data:
    """One-step episodes with reward a; the data's actions are those of N(-0.2, 0.15)."""
    generator = np.random.default_rng(0)
    action = np.clip(generator.normal(-0.2, 0.15, (count, 1)), -1, 1).astype(np.float32)
    obs = jnp.asarray(generator.normal(size=(count, 1)), jnp.float32)
    rows = Transition(obs, jnp.asarray(action), jnp.asarray(action[:, 0]), jnp.zeros(count), obs)
    return Data(rows, rows.reward, jnp.ones(count, bool), jnp.zeros(count, bool))


def trained(config: ATACConfig, data: Data, steps: int, key: int = 0) -> tuple[Algorithm, State, Metrics]:
    algorithm = build(PROBLEM, config, steps)
    state = algorithm.init(jax.random.key(key), data, None)
    run = jax.jit(
        lambda s: advance_seed(algorithm, steps, steps, s, data, jax.random.key(key), jnp.zeros((), jnp.int32))
    )
    return algorithm, *run(state)


def mean_action(algorithm: Algorithm, state: State) -> float:
    obs = jnp.linspace(-1, 1, 21)[:, None]
    return float(jax.vmap(lambda o: algorithm.act(state, o, jax.random.key(0), True))(obs).mean())


SMALL = {"hidden": (16, 16), "batch_size": 64, "slow_lr": 1e-3, "fast_lr": 3e-3}


def test_the_warm_start_clones_and_the_game_improves_within_the_data() -> None:
    data = bandit()
    cloned = trained(ATACConfig(**SMALL, warm_steps=599), data, 600)
    played = trained(ATACConfig(**SMALL, warm_steps=300, bellman_weight=10.0), data, 1200)
    assert mean_action(*cloned[:2]) == pytest.approx(-0.2, abs=0.1)
    assert mean_action(*played[:2]) > mean_action(*cloned[:2]) + 0.1
    assert mean_action(*played[:2]) < 0.5
    assert all(np.isfinite(value) for value in played[2].values())


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
