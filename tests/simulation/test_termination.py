"""The termination rules at their boundaries, in units of predicted observations."""

import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.simulation.rules import RULES
from offline_mbrl.simulation.termination import TERMINATION
from offline_mbrl.tasks import ROBOTS, RobotName

BELOW_07, ABOVE_07 = 0.7 - 1e-6, 0.7 + 1e-6


def observation(robot: RobotName, **components: float) -> np.ndarray:
    """A living robot, with some components replaced: `c3=-150.0` sets number 3."""
    obs = np.zeros(ROBOTS[robot].obs_dim, np.float32)
    obs[0] = 1.25
    for name, value in components.items():
        obs[int(name[1:])] = value
    return obs


CASES: list[tuple[RobotName, dict[str, float], bool]] = [
    ("hopper", {}, False),
    ("hopper", {"c0": BELOW_07}, True),
    ("hopper", {"c0": ABOVE_07}, False),
    ("hopper", {"c0": 0.7}, True),
    ("hopper", {"c0": 5.0}, False),
    ("hopper", {"c0": np.inf}, True),
    ("hopper", {"c0": np.nan}, True),
    ("hopper", {"c1": 0.19}, False),
    ("hopper", {"c1": -0.19}, False),
    ("hopper", {"c1": 0.2}, True),
    ("hopper", {"c1": -0.2}, True),
    ("hopper", {"c5": 99.0}, False),
    ("hopper", {"c5": 100.0}, True),
    ("hopper", {"c5": 150.0}, True),
    ("hopper", {"c5": -150.0}, True),  # public copies take the magnitude of the comparison and let this one live
    ("hopper", {"c10": np.nan}, True),
    ("hopper", {"c10": -np.inf}, True),
    ("walker2d", {}, False),
    ("walker2d", {"c0": 0.8}, True),
    ("walker2d", {"c0": 0.81}, False),
    ("walker2d", {"c0": 1.99}, False),
    ("walker2d", {"c0": 2.0}, True),
    ("walker2d", {"c1": 0.99}, False),
    ("walker2d", {"c1": 1.0}, True),
    ("walker2d", {"c1": -0.99}, False),
    ("walker2d", {"c1": -1.0}, True),
    ("walker2d", {"c9": -150.0}, True),
    ("walker2d", {"c9": np.nan}, True),
    ("halfcheetah", {}, False),
    ("halfcheetah", {"c0": -2.0, "c1": 3.0}, False),
    ("halfcheetah", {"c16": 99.9}, False),
    ("halfcheetah", {"c16": -100.0}, True),
    ("halfcheetah", {"c3": np.nan}, True),
]


@pytest.mark.parametrize(("robot", "components", "ends"), CASES)
def test_rule(robot: RobotName, components: dict[str, float], ends: bool) -> None:
    assert bool(TERMINATION[robot](jnp.asarray(observation(robot, **components)))) is ends


@pytest.mark.parametrize("robot", list(TERMINATION))
def test_any_leading_axes(robot: RobotName) -> None:
    batch = np.stack([observation(robot), observation(robot, c1=np.nan)])
    ends = TERMINATION[robot](jnp.asarray(np.stack([batch, batch, batch])))
    assert ends.shape == (3, 2)
    assert ends.dtype == bool
    assert ends.tolist() == [[False, True]] * 3


@pytest.mark.parametrize("robot", list(TERMINATION))
def test_agrees_with_the_simulator_where_the_guard_is_silent(robot: RobotName) -> None:
    generator, width = np.random.default_rng(0), ROBOTS[robot].obs_dim
    obs = generator.normal(size=(4000, width)) * 0.5
    obs[:, 0] += 1.2
    obs[:, 1] *= 0.5
    positions = width // 2
    qpos = np.concatenate([np.zeros((4000, 1)), obs[:, :positions]], axis=1)
    healthy = np.array([RULES[robot].healthy(q, v) for q, v in zip(qpos, obs[:, positions:], strict=True)])
    np.testing.assert_array_equal(~np.asarray(TERMINATION[robot](jnp.asarray(obs, jnp.float32))), healthy)
    assert robot == "halfcheetah" or 0.1 < healthy.mean() < 0.9
