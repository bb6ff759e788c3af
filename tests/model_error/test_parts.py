"""The parts of the measurement on numbers that are worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.data.source import load
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.errors import UserError
from offline_mbrl.model_error.calibration import calibration, transform
from offline_mbrl.model_error.errors import reported, state_errors, termination
from offline_mbrl.model_error.penalties import rank_correlation, step_error
from offline_mbrl.model_error.play import Played, data_plan, play
from offline_mbrl.model_error.truth import RobotTruth, generalized, tells_state, truth_of
from offline_mbrl.tasks import get_robot, get_task


def played(obs: list[float], alive: list[list[int]], ended: list[list[int]]) -> Played:
    """Steps of rows whose one-dimensional observations are all the same."""
    path = np.repeat(np.array(obs)[:, None, None], len(alive[0]), axis=1)
    shape = np.array(alive).shape
    return Played(
        path, np.zeros((*shape, 1), np.float32), np.zeros(shape), np.array(ended, bool), np.array(alive, bool)
    )


def test_errors_are_in_deviations_and_stop_with_the_rows() -> None:
    truth = played([0.0, 1.0, 2.0], alive=[[1, 1], [1, 0]], ended=[[0, 1], [0, 0]])
    imagined = np.array([[[[3.0], [5.0]], [[8.0], [99.0]]]])  # errors 2 and 4, then 6 of the row that goes on
    found = state_errors(truth, imagined, np.array([2.0]))
    np.testing.assert_array_equal(found["rows"], (2, 1))
    np.testing.assert_allclose(found["rmse"], (2.5**0.5, 3.0))  # sqrt((1 + 4) / 2)
    assert found["median"] == [1.0, 3.0]
    np.testing.assert_allclose(found["dimensions"]["2"], [3.0])


def test_a_path_that_left_the_finite_numbers_is_counted_and_is_an_infinite_error() -> None:
    truth = played([0.0, 0.0], alive=[[1, 1, 1]], ended=[[0, 0, 0]])
    found = state_errors(truth, np.array([[[[1.0], [np.nan], [np.inf]]]]), np.array([1.0]))
    assert (found["lost"], found["rmse"], found["median"]) == ([2], [1.0], [np.inf])


def test_precision_and_recall_count_the_rows_whose_end_is_known() -> None:
    # Row 0 ends at step 1 and is foreseen; row 1 at step 2, not foreseen; row 2 never, but foreseen; row 3's actions
    # run out after step 1.
    truth = played([0.0] * 3, alive=[[1, 1, 1, 1], [0, 1, 1, 0]], ended=[[1, 0, 0, 0], [0, 1, 0, 0]])
    found = termination(truth, np.array([[1, 0, 0, 0], [0, 0, 1, 1]], bool))
    assert found["1"] == {"rows": 4, "ended": 1, "foreseen": 1, "precision": 1.0, "recall": 1.0}
    assert found["2"] == {"rows": 3, "ended": 2, "foreseen": 2, "precision": 0.5, "recall": 0.5}


def test_what_never_happens_has_no_precision() -> None:
    found = termination(played([0.0, 0.0], [[1]], [[0]]), np.zeros((1, 1), bool))
    assert (found["1"]["precision"], found["1"]["recall"]) == (None, None)


def test_the_steps_that_tables_show_end_with_the_horizon() -> None:
    assert reported(50) == [1, 5, 10, 20, 50]
    assert reported(7) == [1, 5, 7]


def test_a_member_without_noise_has_a_step_for_a_distribution() -> None:
    np.testing.assert_array_equal(
        transform(np.array([1.0]), np.array([0.0]), np.array([[0.5], [1.0], [2.0]])).T, [[0, 0.5, 1]]
    )


def test_the_mixture_is_of_the_elites() -> None:
    mean, std = np.array([0.0, 0.0, 50.0])[:, None, None], np.ones((3, 1, 1))
    found = calibration(mean, std, np.array([0, 1]), np.array([[0.5]]))  # F = 0.69: in the central 40 %
    assert found["intervals"] == {"0.5": 1.0, "0.8": 1.0, "0.95": 1.0}
    np.testing.assert_array_equal(found["members"][2], np.zeros(19))


def test_the_error_of_a_step_leaves_the_reward_out() -> None:
    mean = np.array([[[9.0, 1.0, 2.0]], [[9.0, 3.0, 2.0]]])
    error = step_error(mean, np.array([0, 1]), np.array([[0.0, 0.0, 0.0]]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(error, [(2.5) ** 0.5])  # means 2 and 2 in deviations 2 and 1


def test_ranks_of_rounding_errors_are_no_correlation() -> None:
    assert rank_correlation(1.0 + 1e-9 * np.arange(9.0), np.arange(9.0)).value is None
    assert rank_correlation(np.arange(9.0) ** 3, np.arange(9.0)).value == pytest.approx(1.0)
    found = rank_correlation(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5]))
    assert found.value == pytest.approx(0.8)  # 1 - 6 (4) / (5 * 24)


def test_an_observation_is_the_state_without_x() -> None:
    qpos, qvel = generalized(np.arange(11.0)[None])
    np.testing.assert_array_equal(qpos, [[0, 0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(qvel, [[5, 6, 7, 8, 9, 10]])


def test_the_simulator_repeats_its_data_from_their_observations(tmp_path: Path) -> None:
    data = load("hopper-medium", "builtin", 300, cache_dir=tmp_path)
    rows = np.flatnonzero(tells_state(data))[:50]
    found = play(truth_of(data, len(rows)), data.observations[rows], data_plan(data, rows, 1))
    np.testing.assert_allclose(found.obs[1], data.next_observations[rows], atol=2e-3)
    np.testing.assert_allclose(found.reward[0], data.rewards[rows], atol=1e-3)
    np.testing.assert_array_equal(found.terminated[0], data.discounts[rows] == 0)


def test_a_clipped_velocity_hides_the_state(tmp_path: Path) -> None:
    data = load("hopper-medium", "builtin", 300, cache_dir=tmp_path)
    clipped = (np.abs(data.observations[:, 5:]) == 10).any(axis=1)
    np.testing.assert_array_equal(tells_state(data), ~clipped)
    assert tells_state(synthetic(get_task("hopper-medium"), 50)).all()


def test_data_of_unknown_physics_have_no_truth() -> None:
    with pytest.raises(UserError, match="'unknown' physics"):
        RobotTruth(get_robot("hopper"), 1, "unknown")
