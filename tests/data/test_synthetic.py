import numpy as np
import pytest

from offline_mbrl.data.source import load
from offline_mbrl.data.synthetic import HORIZON, coefficients, synthetic
from offline_mbrl.simulation.rules import RULES
from offline_mbrl.tasks import ROBOTS, get_task


@pytest.mark.parametrize("robot", ROBOTS)
def test_least_squares_recovers_the_system(robot: str) -> None:
    dataset, truth = synthetic(get_task(f"{robot}-medium"), 20_000), coefficients(ROBOTS[robot])
    obs, action = dataset.observations.astype(float), dataset.actions.astype(float)
    inputs = np.column_stack([obs, action, np.ones(len(obs))])
    found, *_ = np.linalg.lstsq(inputs, dataset.next_observations.astype(float))
    d = ROBOTS[robot].obs_dim
    # Errors in units of each output's noise, as features are of different scale.
    np.testing.assert_allclose(
        found[d:-1].T / truth.noise_std[:, None], truth.action / truth.noise_std[:, None], atol=0.1
    )
    residual = dataset.next_observations - inputs @ found
    np.testing.assert_allclose(residual.std(0), truth.noise_std, rtol=0.03)
    np.testing.assert_allclose(
        residual.std(0), (dataset.next_observations - truth.next_obs_mean(obs, action)).std(0), rtol=0.01
    )
    assert (dataset.rewards - truth.reward_mean(obs, action)).std() == pytest.approx(truth.reward_noise_std, rel=0.03)


@pytest.mark.parametrize("robot", ROBOTS)
def test_terminals_follow_the_robots_rule_and_timeouts_the_horizon(robot: str) -> None:
    dataset = synthetic(get_task(f"{robot}-random"), 5_000)
    half = ROBOTS[robot].obs_dim // 2
    next_obs = dataset.next_observations.astype(np.float64)
    healthy = RULES[ROBOTS[robot].name].healthy(np.pad(next_obs[:, :half], ((0, 0), (1, 0))), next_obs[:, half:])
    np.testing.assert_array_equal(dataset.discounts, healthy)
    assert dataset.episodes.terminals.any() == (robot != "halfcheetah")
    assert dataset.episodes.timeouts.any()
    assert dataset.episodes.lengths.max() == HORIZON


def test_the_state_is_stable_and_the_same_seed_gives_the_same_rows() -> None:
    task = get_task("hopper-medium")
    assert np.abs(np.linalg.eigvals(coefficients(task.robot).state)).max() == pytest.approx(0.9)
    assert synthetic(task, 500).fingerprint == load("hopper-medium", "synthetic", 500).fingerprint
    assert synthetic(task, 500).fingerprint != synthetic(task, 500, seed=1).fingerprint
    assert (load("hopper-medium", "synthetic").source, synthetic(task, 500).physics) == ("synthetic", "synthetic")
