"""MICRO's gap and target by hand, and where each of them applies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.systems.micro import DEFINITION, MICROConfig, gap, target
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Metrics
from tests.algorithms import toys
from tests.algorithms.toys import members_disagree_by

pytestmark = pytest.mark.medium


def config(**settings: object) -> MICROConfig:
    return MICROConfig.model_validate(toys.SMALL | {"gap_weight": 0.5, "entropy_in_target": False} | settings)


def values(settings: MICROConfig, ensemble: Ensemble) -> tuple[Array, Metrics]:
    return toys.values(target, settings, ensemble)


def test_gap_is_mean_less_minimum_and_never_negative() -> None:
    np.testing.assert_allclose(gap(jnp.array([[1.0, 5.0], [4.0, 5.0], [7.0, 5.0]])), [3.0, 0.0])
    drawn = np.random.default_rng(0).normal(size=(5, 100))
    np.testing.assert_allclose(jax.jit(gap)(drawn), drawn.mean(axis=0) - drawn.min(axis=0), rtol=1e-5)
    assert gap(jnp.asarray(drawn)).min() >= 0.0


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
    ensemble = members_disagree_by(2.0)
    np.testing.assert_allclose(values(settings, ensemble)[0], toys.soft_values(settings, ensemble), rtol=1e-6)


def test_entropy_stays_in_the_backup_by_default_and_the_floor_can_go() -> None:
    assert MICROConfig().entropy_in_target
    floored, _ = values(config(gap_weight=100.0), members_disagree_by(2.0))
    assert floored.min() == 0.0
    free, _ = values(config(gap_weight=100.0, floor_at_zero=False), members_disagree_by(2.0))
    assert free.min() < -80.0


def test_under_jit_and_vmap_it_is_the_same() -> None:
    ensemble = members_disagree_by(2.0)
    y = toys.jitted_over_seeds(target, config(), ensemble)
    np.testing.assert_allclose(y, jnp.stack([values(config(), ensemble)[0]] * 2), rtol=1e-6)


@pytest.mark.parametrize(("ratio", "real"), [(0.0, 0), (0.25, 1), (1.0, 4)])
def test_the_model_data_proportion_is_one_less_the_real_ratio(ratio: float, real: int) -> None:
    y, _ = values(config(real_ratio=ratio, floor_at_zero=False), members_disagree_by(2.0))
    standard, _ = values(config(gap_weight=0.0, floor_at_zero=False), members_disagree_by(2.0))
    # f = 2 a on the model rows; the terminal row, the last, is never lowered.
    lowered = np.array([1.0, 1.0, 0.5, 0.0]) * (np.arange(4) >= real)
    np.testing.assert_allclose(standard - y, 0.99 * 0.5 * 2 * lowered, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_presets_mark_the_random_tasks_as_our_choice(task: str) -> None:
    resolved = resolve(DEFINITION, task)
    assert resolved.sources["gap_weight"].startswith("our choice" if task.endswith("-random") else "MICRO code")
    assert getattr(resolved.config, "floor_at_zero") is (task != "halfcheetah-random")  # noqa: B009
