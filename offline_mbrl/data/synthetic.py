"""A closed-form linear-Gaussian system with a task's shapes and known coefficients, for tests.

    s' = A s + B a + c + sigma_s eps,    r = w . s + v . a - q |a|^2 + b + sigma_r eps,    eps ~ N(0, 1)

Actions are uniform in [-1, 1]. Observations stay near a healthy pose of the robot, in units that differ by feature, and
the robot's own rule says which next observations are terminal.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.dataset import Dataset, from_raw
from offline_mbrl.simulation.rules import RULES
from offline_mbrl.tasks import Robot, Task

Floats = NDArray[np.float64]

HORIZON = 100
"""Steps to a time-out."""

DEFAULT_SIZE = 10_000

HEIGHT = 1.25  # [m] healthy for both robots that can fall
HEIGHT_SCALE = 0.1
ANGLE_SCALE = {"hopper": 0.08, "walker2d": 0.4, "halfcheetah": 0.4}  # 2.5 of them reach the robot's limit


class Coefficients(NamedTuple):
    """What a perfect model of the system would find."""

    state: Floats  # A [d, d], spectral radius 0.9
    action: Floats  # B [d, m]
    offset: Floats  # c [d]
    noise_std: Floats  # sigma_s [d]
    reward_state: Floats  # w [d]
    reward_action: Floats  # v [m]
    reward_action_squared: float  # q
    reward_offset: float  # b
    reward_noise_std: float  # sigma_r

    def next_obs_mean(self, obs: Floats, action: Floats) -> Floats:
        """E[s'] for [..., d] and [..., m]."""
        return obs @ self.state.T + action @ self.action.T + self.offset

    def reward_mean(self, obs: Floats, action: Floats) -> Floats:
        """E[r] for [..., d] and [..., m]: [...]."""
        cost: Floats = self.reward_action_squared * np.square(action).sum(-1)
        return obs @ self.reward_state + action @ self.reward_action - cost + self.reward_offset


def coefficients(robot: Robot) -> Coefficients:
    """The system with the shapes of `robot`; always the same one.

    In standardized coordinates x = (s - center) / scale it is x' = 0.9 Q x + G a + 0.2 eps with Q orthogonal.
    """
    generator = np.random.default_rng(robot.obs_dim)
    center, scale = _pose(robot)
    rotation, _ = np.linalg.qr(generator.normal(size=(robot.obs_dim, robot.obs_dim)))
    gain = generator.normal(size=(robot.obs_dim, robot.action_dim))
    gain *= 0.6 / np.linalg.norm(gain, axis=1, keepdims=True)
    state = 0.9 * scale[:, None] * rotation / scale
    weights = generator.normal(size=robot.obs_dim) / scale / np.sqrt(robot.obs_dim)
    return Coefficients(
        state=state,
        action=scale[:, None] * gain,
        offset=center - state @ center,
        noise_std=0.2 * scale,
        reward_state=weights,
        reward_action=generator.normal(size=robot.action_dim),
        reward_action_squared=0.5,
        reward_offset=1.0 - float(weights @ center),
        reward_noise_std=0.1,
    )


def synthetic(task: Task, size: int = DEFAULT_SIZE, seed: int = 0) -> Dataset:
    """`size` rows of the system of the task's robot; the last episode is cut where they end."""
    robot, generator = task.robot, np.random.default_rng(seed)
    system, (center, scale) = coefficients(robot), _pose(task.robot)
    actions = generator.uniform(-1, 1, (size, robot.action_dim))
    noise = generator.normal(size=(size, robot.obs_dim)) * system.noise_std
    obs, next_obs = np.empty((2, size, robot.obs_dim))
    terminals, timeouts = np.zeros((2, size), np.bool_)
    start, state = 0, center
    for row in range(size):
        obs[row] = state
        next_obs[row] = state = system.next_obs_mean(state, actions[row]) + noise[row]
        terminals[row] = _fallen(robot, state)
        timeouts[row] = row + 1 - start == HORIZON
        if terminals[row] or timeouts[row]:
            start, state = row + 1, center + 0.1 * scale * generator.normal(size=robot.obs_dim)
    rewards = system.reward_mean(obs, actions) + system.reward_noise_std * generator.normal(size=size)
    return from_raw(
        task,
        source="synthetic",
        name=f"{task.name}@{size}",
        physics="synthetic",
        observations=obs,
        actions=actions,
        rewards=rewards,
        terminals=terminals,
        timeouts=timeouts,
        next_observations=next_obs,
    )


def _pose(robot: Robot) -> tuple[Floats, Floats]:
    """Center [d] and scale [d] of the observations: height and angle first, as every robot has them."""
    center, scale = np.zeros(robot.obs_dim), np.ones(robot.obs_dim)
    center[0] = HEIGHT
    scale[:2] = HEIGHT_SCALE, ANGLE_SCALE[robot.name]
    return center, scale


def _fallen(robot: Robot, obs: Floats) -> bool:
    """The robot's rule on an observation, which is its generalized coordinates without x."""
    positions = robot.obs_dim // 2
    qpos = np.concatenate([[0.0], obs[:positions]])
    return not RULES[robot.name].healthy(qpos, obs[positions:])
