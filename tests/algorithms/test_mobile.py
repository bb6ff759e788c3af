"""MOBILE's penalty and target by hand, and where each of them applies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms import sac
from offline_mbrl.algorithms.branched import BranchedState, empty_ring
from offline_mbrl.algorithms.mobile import DEFINITION, MOBILEConfig, inconsistency, penalized_target, target
from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.data.normalizer import Normalizer
from offline_mbrl.dynamics.ensemble import Ensemble, Layer, Weights
from offline_mbrl.keys import stream
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Problem, Transition

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))
KEY = jax.random.key(7)


def config(**settings: object) -> MOBILEConfig:
    base = {"hidden": (), "batch_size": 4, "real_ratio": 0.5, "rollout_batch": 1, "horizon": 1, "penalty_weight": 2.0}
    return MOBILEConfig.model_validate(base | settings)


def members_disagree_by(gain: float) -> Ensemble:
    """Two noiseless members: s' = s and s' = s + gain * a * (1, 0)."""
    kernel = jnp.zeros((2, 3, 6)).at[1, 2, 1].set(gain)
    bias = jnp.tile(jnp.array([0.0, 0.0, 0.0, -40.0, -40.0, -40.0]), (2, 1))
    weights = Weights((Layer(kernel, bias),), jnp.full(3, -60.0), jnp.full(3, 60.0))
    return Ensemble(weights, Normalizer(jnp.zeros(3), jnp.ones(3)), jnp.array([0, 1], jnp.int32))


def state_in(ensemble: Ensemble, settings: MOBILEConfig) -> BranchedState:
    """Both critics are Q(s, a) = s_0."""
    system = sac.make(PROBLEM, settings, 1)
    critic = {
        "MLP_0": {
            "Dense_0": {"kernel": jnp.tile(jnp.array([[1.0], [0.0], [0.0]]), (2, 1, 1)), "bias": jnp.zeros((2, 1))}
        }
    }
    return BranchedState(
        sac.init(system, jax.random.key(0)).replace(target=critic), ensemble, empty_ring(settings, PROBLEM)
    )


def batch() -> Transition:
    """Two data rows, then two model rows of which the last is terminal; the elites differ on it by gain * action."""
    obs = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    action = jnp.array([[1.0], [1.0], [0.5], [1.0]])
    return Transition(obs, action, jnp.array([10.0, 10.0, 10.0, 10.0]), jnp.array([1.0, 1.0, 1.0, 0.0]), obs)


def values(settings: MOBILEConfig, ensemble: Ensemble) -> tuple[Array, dict[str, Array]]:
    system = sac.make(PROBLEM, settings, 1)
    return target(settings, system, state_in(ensemble, settings), batch(), KEY)


def test_inconsistency_has_the_sample_divisor() -> None:
    np.testing.assert_allclose(inconsistency(jnp.array([[1.0, 0.0, 4.0], [3.0, 0.0, 4.0]])), [np.sqrt(2.0), 0.0, 0.0])
    drawn = np.random.default_rng(0).normal(size=(5, 7))
    np.testing.assert_allclose(jax.jit(inconsistency)(drawn), drawn.std(axis=0, ddof=1), rtol=1e-5)


def test_target_by_hand() -> None:
    arguments = jnp.array([1.0, -5.0]), jnp.array([2.0, 1.0]), jnp.array([0.5, 0.0])
    np.testing.assert_allclose(penalized_target(*arguments, beta=4.0, floor=True), [1.0, 0.0])
    np.testing.assert_allclose(penalized_target(*arguments, beta=4.0, floor=False), [1.0, -4.0])


def test_penalty_lowers_model_rows_by_beta_std_outside_the_discount() -> None:
    y, metrics = values(config(), members_disagree_by(2.0))
    # std of (s_0, s_0 + 2 a) is sqrt(2) a: the terminal row is penalized too, since beta p is not discounted.
    expected = np.array([10 + 0.99 * 1, 10 + 0.99 * 2, 10 + 0.99 * 3 - 2 * np.sqrt(2) / 2, 10 - 2 * np.sqrt(2)])
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["penalty"], (np.sqrt(2) / 2 + np.sqrt(2)) / 2, rtol=1e-5)


def test_members_that_agree_leave_the_standard_target() -> None:
    y, metrics = values(config(), members_disagree_by(0.0))
    np.testing.assert_allclose(y, [10.99, 11.98, 12.97, 10.0], rtol=1e-5)
    assert metrics["penalty"] == 0.0


def test_without_weight_and_floor_it_is_the_target_of_sac() -> None:
    settings = config(penalty_weight=0.0, floor_at_zero=False, entropy_in_target=True)
    ensemble, system = members_disagree_by(2.0), sac.make(PROBLEM, settings, 1)
    y, _ = values(settings, ensemble)
    learner = state_in(ensemble, settings).learner
    np.testing.assert_allclose(y, sac.bellman_target(system, learner, batch(), stream(KEY, "value")), rtol=1e-6)


def test_backup_is_deterministic_by_default_and_the_floor_can_go() -> None:
    assert not MOBILEConfig().entropy_in_target
    floored, metrics = values(config(penalty_weight=100.0), members_disagree_by(2.0))
    assert floored.min() == 0.0
    assert metrics["floored"] == 0.5
    free, _ = values(config(penalty_weight=100.0, floor_at_zero=False), members_disagree_by(2.0))
    assert free.min() < -100.0


def test_batch_of_data_alone_has_no_penalty() -> None:
    y, metrics = values(config(real_ratio=1.0), members_disagree_by(2.0))
    np.testing.assert_allclose(y, [10.99, 11.98, 12.97, 10.0], rtol=1e-5)
    assert metrics["penalty"] == 0.0


def test_under_jit_and_vmap_it_is_the_same() -> None:
    settings = config()
    state = state_in(members_disagree_by(2.0), settings)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    system = sac.make(PROBLEM, settings, 1)
    y, _ = jax.jit(jax.vmap(lambda s: target(settings, system, s, batch(), KEY)))(stacked)
    np.testing.assert_allclose(y, jnp.stack([values(settings, state.ensemble)[0]] * 2), rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_presets_resolve_with_a_source_for_every_value(task: str) -> None:
    resolved = resolve(DEFINITION, task)
    assert resolved.steps == 3_000_000
    assert {"horizon", "penalty_weight"} <= set(resolved.sources)


def test_preset_of_the_fixed_temperature() -> None:
    fixed = {task for task in TASKS if getattr(resolve(DEFINITION, task).config, "temperature") is not None}  # noqa: B009
    assert fixed == {"hopper-medium", "hopper-medium-replay"}
