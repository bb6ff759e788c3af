"""MOBILE's penalty and target by hand, and where each of them applies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.systems.mobile import DEFINITION, MOBILEConfig, inconsistency, target
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Metrics
from tests.algorithms import toys
from tests.algorithms.toys import members_disagree_by

pytestmark = pytest.mark.medium


def config(**settings: object) -> MOBILEConfig:
    return MOBILEConfig.model_validate(toys.SMALL | {"penalty_weight": 2.0} | settings)


def values(settings: MOBILEConfig, ensemble: Ensemble) -> tuple[Array, Metrics]:
    return toys.values(target, settings, ensemble)


def test_inconsistency_has_the_sample_divisor() -> None:
    np.testing.assert_allclose(inconsistency(jnp.array([[1.0, 0.0, 4.0], [3.0, 0.0, 4.0]])), [np.sqrt(2.0), 0.0, 0.0])
    drawn = np.random.default_rng(0).normal(size=(5, 7))
    np.testing.assert_allclose(jax.jit(inconsistency)(drawn), drawn.std(axis=0, ddof=1), rtol=1e-5)
    assert inconsistency(jnp.asarray(drawn)).min() >= 0.0


def test_penalty_lowers_model_rows_by_beta_std_outside_the_discount() -> None:
    y, metrics = values(config(), members_disagree_by(1.0))
    # std of (s_0 - a, s_0 + a) is sqrt(2) a: the terminal row is penalized too, since beta p is not discounted.
    expected = np.array([10 + 0.99 * 1, 10 + 0.99 * 2, 10 + 0.99 * 3 - 2 * np.sqrt(2) / 2, 10 - 2 * np.sqrt(2)])
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["penalty"], (np.sqrt(2) / 2 + np.sqrt(2)) / 2, rtol=1e-5)


def test_rows_that_end_can_be_left_alone() -> None:
    y, metrics = values(config(penalize_terminals=False), members_disagree_by(1.0))
    np.testing.assert_allclose(y, [10.99, 11.98, 10 + 0.99 * 3 - 2 * np.sqrt(2) / 2, 10.0], rtol=1e-5)
    np.testing.assert_allclose(metrics["penalty"], np.sqrt(2) / 2 / 2, rtol=1e-5)
    assert MOBILEConfig().penalize_terminals


def test_members_that_agree_leave_the_standard_target() -> None:
    y, metrics = values(config(), members_disagree_by(0.0))
    np.testing.assert_allclose(y, [10.99, 11.98, 12.97, 10.0], rtol=1e-5)
    assert metrics["penalty"] == 0.0


def test_without_weight_and_floor_it_is_the_target_of_sac() -> None:
    settings = config(penalty_weight=0.0, floor_at_zero=False, entropy_in_target=True)
    ensemble = members_disagree_by(1.0)
    np.testing.assert_allclose(values(settings, ensemble)[0], toys.soft_values(settings, ensemble), rtol=1e-6)


def test_backup_is_deterministic_by_default_and_the_floor_can_go() -> None:
    assert not MOBILEConfig().entropy_in_target
    floored, metrics = values(config(penalty_weight=100.0), members_disagree_by(1.0))
    assert floored.min() == 0.0
    assert metrics["floored"] == 0.5
    free, _ = values(config(penalty_weight=100.0, floor_at_zero=False), members_disagree_by(1.0))
    assert free.min() < -100.0


def test_batch_of_data_alone_has_no_penalty() -> None:
    y, metrics = values(config(real_ratio=1.0), members_disagree_by(1.0))
    np.testing.assert_allclose(y, [10.99, 11.98, 12.97, 10.0], rtol=1e-5)
    assert metrics["penalty"] == 0.0


def test_under_jit_and_vmap_it_is_the_same() -> None:
    ensemble = members_disagree_by(1.0)
    y = toys.jitted_over_seeds(target, config(), ensemble)
    np.testing.assert_allclose(y, jnp.stack([values(config(), ensemble)[0]] * 2), rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_presets_resolve_with_a_source_for_every_value(task: str) -> None:
    resolved = resolve(DEFINITION, task)
    assert resolved.steps == 3_000_000
    assert isinstance(resolved.config, MOBILEConfig)
    assert resolved.config.penalize_terminals
    assert {"horizon", "penalty_weight"} <= set(resolved.sources)


def test_a_preset_leaves_terminal_rows_alone() -> None:
    settings = resolve(DEFINITION, "hopper-medium", "terminals-exempt").config
    assert isinstance(settings, MOBILEConfig)
    assert not settings.penalize_terminals


def test_preset_of_the_fixed_temperature() -> None:
    fixed = {task for task in TASKS if getattr(resolve(DEFINITION, task).config, "temperature") is not None}  # noqa: B009
    assert fixed == {"hopper-medium", "hopper-medium-replay"}
