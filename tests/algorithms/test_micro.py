"""MICRO's gap and target by hand, and where each of them applies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms import sac
from offline_mbrl.algorithms.branched import BranchedState, empty_ring
from offline_mbrl.algorithms.micro import DEFINITION, MICROConfig, conservative_target, gap, target
from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.data.normalizer import Normalizer
from offline_mbrl.dynamics.ensemble import Ensemble, Layer, Weights
from offline_mbrl.keys import stream
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Problem, Transition

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))
KEY = jax.random.key(7)


def config(**settings: object) -> MICROConfig:
    base = {"hidden": (), "batch_size": 4, "real_ratio": 0.5, "rollout_batch": 1, "horizon": 1, "gap_weight": 0.5}
    return MICROConfig.model_validate(base | {"entropy_in_target": False} | settings)


def members_disagree_by(gain: float) -> Ensemble:
    """Two noiseless members: s' = s - gain * a * (1, 0) and s' = s + gain * a * (1, 0)."""
    kernel = jnp.zeros((2, 3, 6)).at[0, 2, 1].set(-gain).at[1, 2, 1].set(gain)
    bias = jnp.tile(jnp.array([0.0, 0.0, 0.0, -40.0, -40.0, -40.0]), (2, 1))
    weights = Weights((Layer(kernel, bias),), jnp.full(3, -60.0), jnp.full(3, 60.0))
    return Ensemble(weights, Normalizer(jnp.zeros(3), jnp.ones(3)), jnp.array([0, 1], jnp.int32))


def state_in(ensemble: Ensemble, settings: MICROConfig) -> BranchedState:
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
    """Two data rows, then two model rows of which the last is terminal."""
    obs = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    action = jnp.array([[1.0], [1.0], [0.5], [1.0]])
    return Transition(obs, action, jnp.full(4, 10.0), jnp.array([1.0, 1.0, 1.0, 0.0]), obs)


def values(settings: MICROConfig, ensemble: Ensemble) -> tuple[Array, dict[str, Array]]:
    system = sac.make(PROBLEM, settings, 1)
    return target(settings, system, state_in(ensemble, settings), batch(), KEY)


def test_gap_is_mean_less_minimum_and_never_negative() -> None:
    np.testing.assert_allclose(gap(jnp.array([[1.0, 5.0], [4.0, 5.0], [7.0, 5.0]])), [3.0, 0.0])
    drawn = np.random.default_rng(0).normal(size=(5, 100))
    np.testing.assert_allclose(jax.jit(gap)(drawn), drawn.mean(axis=0) - drawn.min(axis=0), rtol=1e-5)
    assert gap(jnp.asarray(drawn)).min() >= 0.0


def test_target_by_hand() -> None:
    arguments = jnp.array([1.0, -3.0]), jnp.array([0.9, 0.0]), jnp.array([10.0, 10.0]), jnp.array([2.0, 2.0])
    np.testing.assert_allclose(conservative_target(*arguments, beta=0.5, floor=True), [1 + 0.9 * 9, 0.0], rtol=1e-6)
    np.testing.assert_allclose(conservative_target(*arguments, beta=0.5, floor=False), [1 + 0.9 * 9, -3.0], rtol=1e-6)


def test_gap_lowers_model_rows_inside_the_discount() -> None:
    y, metrics = values(config(), members_disagree_by(2.0))
    # The members' values are s_0 -+ 2 a, so f = 2 a; neither data rows nor the terminal row feel it.
    np.testing.assert_allclose(y, [10.99, 11.98, 10 + 0.99 * (3 - 0.5 * 1.0), 10.0], rtol=1e-5)
    np.testing.assert_allclose(metrics["gap"], (1.0 + 2.0) / 2, rtol=1e-5)


def test_weight_one_is_the_robust_operator() -> None:
    # V(s') = s_0 is the mean of the members' values here, so beta 1 leaves the worst of them: s_0 - 2 a.
    y, _ = values(config(gap_weight=1.0), members_disagree_by(2.0))
    np.testing.assert_allclose(y[2], 10 + 0.99 * (3.0 - 1.0), rtol=1e-5)


def test_members_that_agree_leave_the_standard_target() -> None:
    y, metrics = values(config(gap_weight=10.0), members_disagree_by(0.0))
    np.testing.assert_allclose(y, [10.99, 11.98, 12.97, 10.0], rtol=1e-5)
    assert metrics["gap"] == 0.0


def test_without_weight_and_floor_it_is_the_target_of_sac() -> None:
    settings = config(gap_weight=0.0, floor_at_zero=False, entropy_in_target=True)
    ensemble, system = members_disagree_by(2.0), sac.make(PROBLEM, settings, 1)
    y, _ = values(settings, ensemble)
    learner = state_in(ensemble, settings).learner
    np.testing.assert_allclose(y, sac.bellman_target(system, learner, batch(), stream(KEY, "value")), rtol=1e-6)


def test_entropy_stays_in_the_backup_by_default_and_the_floor_can_go() -> None:
    assert MICROConfig().entropy_in_target
    floored, _ = values(config(gap_weight=100.0), members_disagree_by(2.0))
    assert floored.min() == 0.0
    free, _ = values(config(gap_weight=100.0, floor_at_zero=False), members_disagree_by(2.0))
    assert free.min() < -80.0


def test_under_jit_and_vmap_it_is_the_same() -> None:
    settings = config()
    state = state_in(members_disagree_by(2.0), settings)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    system = sac.make(PROBLEM, settings, 1)
    y, _ = jax.jit(jax.vmap(lambda s: target(settings, system, s, batch(), KEY)))(stacked)
    np.testing.assert_allclose(y, jnp.stack([values(settings, state.ensemble)[0]] * 2), rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_presets_mark_the_random_tasks_as_our_choice(task: str) -> None:
    resolved = resolve(DEFINITION, task)
    assert resolved.sources["gap_weight"].startswith("our choice" if task.endswith("-random") else "MICRO code")
    assert getattr(resolved.config, "floor_at_zero") is (task != "halfcheetah-random")  # noqa: B009
