"""Errors, calibration and penalties on the linear-Gaussian system, where all of them are known in closed form."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.model_error.measure import Scale, measure, scale_of
from offline_mbrl.model_error.play import Plan, data_plan, random_plan
from offline_mbrl.model_error.truth import LinearTruth
from offline_mbrl.model_error.world import World, mean_path, one_step
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.tasks import get_task
from tests.model_error.worlds import ROBOT, SYSTEM, true_std, world

pytestmark = pytest.mark.medium

ROWS, HORIZON = 4000, 10
DATA = synthetic(get_task("halfcheetah-medium"), 4000)
SCALE = scale_of(DATA)


def measured(model: World, noise: float, scale: Scale = SCALE) -> dict[str, Any]:
    plan = random_plan(ROWS, ROBOT.action_dim, HORIZON, seed=1)
    return measure(model, LinearTruth(ROBOT, 2, noise), DATA.observations[:ROWS], plan, scale, 1, 3)


def noise_after(steps: int) -> np.ndarray[Any, Any]:
    """[d] deviation of the state after h steps from known actions: sqrt(diag sum_j A^j D A^jT)."""
    powers = [np.linalg.matrix_power(SYSTEM.state, step) for step in range(steps)]
    return np.sqrt(np.diag(sum(power @ np.diag(SYSTEM.noise_std**2) @ power.T for power in powers)))


def test_a_perfect_model_of_a_system_without_noise_has_no_error() -> None:
    found = measured(world(), noise=0.0)
    for kind in ("mean", "samples"):
        state, reward = found["open_loop"][kind]["state"], found["open_loop"][kind]["reward"]
        assert max(state["rmse"]) < 1e-5
        assert max(reward["rmse"]) < 1e-5
        assert sum(state["lost"]) == 0
    assert found["error"]["p90"] < 1e-5


def test_the_error_of_a_perfect_mean_is_the_systems_own_noise() -> None:
    found = measured(world(std=true_std()), noise=1.0)["open_loop"]
    for step in (1, 5, 10):
        expected = noise_after(step) / SCALE.obs
        np.testing.assert_allclose(found["mean"]["state"]["dimensions"][str(step)], expected, rtol=0.05)
        np.testing.assert_allclose(found["samples"]["state"]["dimensions"][str(step)], 2**0.5 * expected, rtol=0.05)
    assert found["mean"]["reward"]["rmse"][0] == pytest.approx(SYSTEM.reward_noise_std / SCALE.reward, rel=0.05)


def test_a_constant_bias_adds_up_through_the_system() -> None:
    bias = np.zeros(ROBOT.obs_dim + 1)
    bias[3], bias[0] = 0.5, 0.25
    found = measured(world(offset=bias), noise=0.0)["open_loop"]["mean"]
    for step in (1, 5, 10):
        total = sum(np.linalg.matrix_power(SYSTEM.state, power) @ bias[1:] for power in range(step))
        np.testing.assert_allclose(found["state"]["dimensions"][str(step)], np.abs(total) / SCALE.obs, atol=1e-4)
    assert found["reward"]["bias"][0] == pytest.approx(0.25 / SCALE.reward, rel=1e-3)


def test_a_perfect_models_intervals_hold_what_they_claim() -> None:
    found = measured(world(std=true_std()), noise=1.0)["calibration"]
    np.testing.assert_allclose(list(found["intervals"].values()), (0.5, 0.8, 0.95), atol=0.01)
    np.testing.assert_allclose(found["members"][1], found["nominal"], atol=0.01)
    np.testing.assert_allclose(found["dimensions"]["0.8"], 0.8, atol=0.04)
    assert found["error"] < 0.005


def test_half_the_noise_claims_too_much() -> None:
    found = measured(world(std=true_std() / 2), noise=1.0)["calibration"]
    assert found["intervals"]["0.95"] == pytest.approx(0.6729, abs=0.01)  # 2 Phi(1.96 / 2) - 1


def test_disagreement_in_proportion_to_the_error_ranks_it_perfectly_and_constant_noise_not_at_all() -> None:
    direction = np.ones(ROBOT.obs_dim + 1)
    gains = np.array([[0.0], [0.1], [0.5]]) * direction  # the mean over members is off by 0.2 |a_0| everywhere
    found = measured(world(gain=gains, std=0.3), noise=0.0)["penalties"]
    for name in ("max_pair", "max_center", "epistemic_std", "ens_std", "ens_var"):
        assert found[name]["value"] == pytest.approx(1.0, abs=1e-3)
    assert found["max_aleatoric"]["value"] is None
    assert found["individual"]["value"] is None


def test_noise_that_no_prediction_can_foresee_is_not_ranked() -> None:
    gains = np.array([[-0.1], [0.0], [0.1]]) * true_std()  # they disagree, and their mean is right
    found = measured(world(gain=gains, std=true_std()), noise=1.0)["penalties"]["max_pair"]
    assert abs(found["value"]) < 0.05
    assert found["low"] < 0.0 < found["high"]


def test_the_datas_actions_end_with_their_episodes() -> None:
    rows = np.array([0, 98, 99, 100])  # episodes of 100 rows
    plan: Plan = data_plan(DATA, rows, 3)
    np.testing.assert_array_equal(plan.present.sum(axis=0), (3, 2, 1, 3))
    np.testing.assert_array_equal(plan.action(1, DATA.observations[rows])[1], DATA.actions[99])


def test_the_noise_of_the_data_is_the_error_under_its_own_actions() -> None:
    rows = np.arange(0, 4000, 2)
    plan = data_plan(DATA, rows, 5)
    found = measure(world(std=true_std()), LinearTruth(ROBOT), DATA.observations[rows], plan, SCALE, 1, 0)
    state = found["open_loop"]["mean"]["state"]
    np.testing.assert_array_equal(state["rows"], plan.present.sum(axis=1))
    np.testing.assert_allclose(state["dimensions"]["5"], noise_after(5) / SCALE.obs, rtol=0.08)


def test_a_model_of_standardized_observations_predicts_in_the_tasks_units() -> None:
    inner = world(offset=0.0)
    width = ROBOT.obs_dim
    scale = Normalizer(jnp.full(width, 5.0), jnp.full(width, 3.0))
    obs, action = jnp.full((1, width), 5.0), jnp.zeros((1, ROBOT.action_dim))
    found = one_step(inner.replace(observations=scale), obs, action)
    np.testing.assert_allclose(found.units.mean[..., 1:], 3.0 * found.own.mean[..., 1:], rtol=1e-6)
    np.testing.assert_array_equal(found.units.mean[..., 0], found.own.mean[..., 0])
    np.testing.assert_allclose(found.own.mean[0, 0, 1:], SYSTEM.offset, atol=1e-5)  # what z = 0 leads to
    path = mean_path(inner.replace(observations=scale), obs, action[None])
    np.testing.assert_allclose(path.obs[0, 0], 5.0 + 3.0 * SYSTEM.offset, rtol=1e-4, atol=1e-5)
