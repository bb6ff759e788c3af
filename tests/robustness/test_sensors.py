"""Sensors by hand."""

import numpy as np
import pytest

from offline_mbrl.robustness.sensors import Delay, Failing, Floats, Noise, make_sensors


def signal(step: int) -> Floats:
    """Two lanes, one point, one episode, three sensors that show the step and more: [2, 1, 1, 3]."""
    return np.full((2, 1, 1, 3), 10.0 + step, np.float32)


def test_a_late_observation_is_that_of_the_step_before() -> None:
    late = Delay(nothing_first=False)
    assert [float(late(signal(step)).max()) for step in range(4)] == [10, 10, 11, 12]


def test_a_late_action_leaves_the_first_step_without_one() -> None:
    see, do = make_sensors("late_action", (0,), np.ones(3, np.float32))
    assert [float(do(see(signal(step))).max()) for step in range(4)] == [0, 10, 11, 12]


def test_a_delay_keeps_a_copy() -> None:
    late, x = Delay(nothing_first=True), signal(0)
    late(x)
    x[:] = -1
    assert late(signal(1)).max() == 10


@pytest.mark.parametrize("stuck", [False, True])
def test_sensors_that_always_fail_show_nothing_or_the_first_value(stuck: bool) -> None:
    failing = Failing((0, 1), stuck, failure=1.0)
    assert [float(failing(signal(step)).max()) for step in range(4)] == [10.0 if stuck else 0.0] * 4


@pytest.mark.parametrize("stuck", [False, True])
def test_a_failure_lasts_its_steps_and_ends(stuck: bool) -> None:
    """A sensor fails at step f: for 3 steps it shows 0 or what it showed at f - 1, then the truth of step f + 3."""
    failing = Failing((0,), stuck, failure=0.1, lasting=3)
    shown = np.concatenate([failing(signal(step)[:1]).ravel()[:, None] for step in range(300)], axis=1)
    truth = 10.0 + np.arange(300)
    for sensor in shown:
        wrong, step = sensor != truth, 0
        assert 0.1 < wrong.mean() < 0.45  # a share of lasting p / (1 + lasting p - p) = 0.25 in the long run
        while step < 297:
            if wrong[step]:
                end = next(at for at in range(step, 301) if at == 300 or not wrong[at])
                before = truth[step - 1] if stuck else 0.0
                assert np.all(sensor[step : min(end, step + 3)] == before)
                assert end == 300 or end - step == 3 or (end - step) % 3 == 0
                step = end
            step += 1


def test_working_sensors_show_the_truth() -> None:
    failing = Failing((0,), stuck=True, failure=0.0)
    assert [float(failing(signal(step)[:1]).min()) for step in range(3)] == [10, 11, 12]


def test_noise_has_the_share_of_the_datas_deviation() -> None:
    std = np.array([1.0, 10.0, 0.0], np.float32)
    noise = Noise((0, 1), std)
    x = np.zeros((2, 1, 500, 3), np.float32)
    drawn = np.stack([noise(x) for _ in range(40)])
    np.testing.assert_allclose(drawn.std(axis=(0, 1, 2, 3)), 0.05 * std, rtol=0.02)
    np.testing.assert_allclose(drawn.mean(axis=(0, 1, 2, 3)), 0, atol=0.01)


def test_all_points_meet_the_same_noise_and_lanes_their_own() -> None:
    x = np.zeros((2, 3, 4, 5), np.float32)
    drawn = Noise((0, 1), np.ones(5, np.float32))(x)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    assert not np.array_equal(drawn[0], drawn[1])


def test_a_seed_meets_the_same_noise_beside_others() -> None:
    std, x = np.ones(5, np.float32), np.zeros((2, 1, 4, 5), np.float32)
    np.testing.assert_array_equal(Noise((7, 8), std)(x)[1], Noise((8,), std)(x[:1])[0])
