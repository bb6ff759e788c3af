import numpy as np
import pytest

from offline_mbrl.simulation.rules import RULES, observe, reward
from offline_mbrl.tasks import RobotName

NAN = float("nan")


@pytest.mark.parametrize(
    ("place", "value", "healthy"),
    [
        (None, 0.0, True),
        (0, 1e6, True),  # x is free
        (1, 0.701, True),
        (1, 0.7, False),
        (1, 99.0, True),
        (1, 150.0, True),  # the bound on the state leaves z out
        (1, np.inf, False),
        (1, NAN, False),
        (2, 0.199, True),
        (2, 0.2, False),
        (2, -0.2, False),
        (2, NAN, False),
        (4, -150.0, False),
        (4, 99.9, True),
        (6, 150.0, False),  # velocities, that of x included
        (11, -150.0, False),
        (11, 100.0, False),
        (11, NAN, False),
    ],
)
def test_hopper_health(place: int | None, value: float, healthy: bool) -> None:
    assert health("hopper", 6, place, value) == healthy


@pytest.mark.parametrize(
    ("place", "value", "healthy"),
    [
        (None, 0.0, True),
        (1, 0.8, False),
        (1, 0.801, True),
        (1, 1.999, True),
        (1, 2.0, False),
        (1, NAN, False),
        (2, 1.0, False),
        (2, -1.0, False),
        (2, -0.999, True),
        (2, NAN, False),
        (12, 150.0, True),
    ],
)
def test_walker2d_health(place: int | None, value: float, healthy: bool) -> None:
    assert health("walker2d", 9, place, value) == healthy


def test_halfcheetah_is_always_healthy() -> None:
    assert health("halfcheetah", 9, 1, -100.0)


def health(name: RobotName, coordinates: int, place: int | None, value: float) -> bool:
    """Health of the upright robot with coordinate `place` of (qpos, qvel) set to `value`, beside a healthy row."""
    state = np.zeros((2, 2 * coordinates))
    state[:, 1] = 1.25
    if place is not None:
        state[1, place] = value
    first, second = RULES[name].healthy(state[:, :coordinates], state[:, coordinates:])
    assert first
    return bool(second)


def test_observation_leaves_x_out_and_clips_velocities() -> None:
    qpos, qvel = np.array([[7.0, 1.25, 11.0]]), np.array([[-12.0, 3.0, 10.5]])
    np.testing.assert_array_equal(observe(RULES["hopper"], qpos, qvel), [[1.25, 11, -10, 3, 10]])
    np.testing.assert_array_equal(observe(RULES["halfcheetah"], qpos, qvel), [[1.25, 11, -12, 3, 10.5]])


@pytest.mark.parametrize(("name", "expected"), [("hopper", 2.998), ("walker2d", 2.998), ("halfcheetah", 1.8)])
def test_reward(name: RobotName, expected: float) -> None:
    # velocity 2, |action|^2 = 2: 2 + 1 - 0.001 * 2 with an alive reward, 2 - 0.1 * 2 without
    np.testing.assert_allclose(reward(RULES[name], np.array([2.0]), np.array([[1.0, 0.0, -1.0]])), [expected])
