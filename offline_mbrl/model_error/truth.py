"""The system that a model is held against: the simulated robot, or the closed-form system of the synthetic data."""

from typing import Protocol

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.synthetic import coefficients
from offline_mbrl.errors import UserError
from offline_mbrl.simulation.rules import RULES, Bools, Floats
from offline_mbrl.simulation.simulator import Simulator, Step
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.tasks import PHYSICS, Robot


class Truth(Protocol):
    """Rows of a system that can be put into any observed state."""

    def start(self, obs: Floats) -> None:
        """Puts every row into its observation of [B, d]."""

    def step(self, actions: NDArray[np.floating]) -> Step:
        """Applies actions [B, m] for one control step to all rows, those that have ended too."""


class RobotTruth:
    """The simulator, put into the states that observations tell."""

    def __init__(self, robot: Robot, rows: int, physics: str) -> None:
        if physics not in PHYSICS:
            raise UserError(f"the data were made under '{physics}' physics, which the simulator does not have")
        self._simulator = Simulator(robot, rows, "gymnasium-v4" if physics == "gymnasium-v4" else "d4rl-v2")

    def start(self, obs: Floats) -> None:
        self._simulator.set_state(*generalized(obs))

    def step(self, actions: NDArray[np.floating]) -> Step:
        return self._simulator.step(actions)


class LinearTruth:
    """The linear-Gaussian system of the synthetic data; `noise` scales both of its deviations, 0 leaves the means."""

    def __init__(self, robot: Robot, seed: int = 0, noise: float = 1.0) -> None:
        self._system, self._noise = coefficients(robot), noise
        self._generator = np.random.default_rng(seed)
        self._terminates = problem_of(robot).terminates
        self._obs: Floats = np.zeros((0, robot.obs_dim))

    def start(self, obs: Floats) -> None:
        self._obs = np.array(obs, np.float64)

    def step(self, actions: NDArray[np.floating]) -> Step:
        state = self._noise * self._system.noise_std * self._generator.normal(size=self._obs.shape)
        paid = self._noise * self._system.reward_noise_std * self._generator.normal(size=len(actions))
        wide = np.asarray(actions, np.float64)
        reward = self._system.reward_mean(self._obs, wide) + paid
        self._obs = self._system.next_obs_mean(self._obs, wide) + state
        ended = np.asarray(self._terminates(jnp.asarray(self._obs, jnp.float32)))
        return Step(self._obs.copy(), reward, ended, np.zeros(len(actions), np.bool_))


def truth_of(dataset: Dataset, rows: int, seed: int = 0) -> Truth:
    """The system that made `dataset`, with `rows` rows.

    Raises:
      UserError: the data's physics is not one of ours.
    """
    robot = dataset.task.robot
    return LinearTruth(robot, seed) if dataset.physics == "synthetic" else RobotTruth(robot, rows, dataset.physics)


def generalized(obs: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Positions [B, nq] and velocities [B, nv] of observations [B, d]; x, which moves nothing, is 0."""
    wide = np.asarray(obs, np.float64)
    positions = wide.shape[-1] // 2
    return np.concatenate([np.zeros((len(wide), 1)), wide[:, :positions]], axis=-1), wide[:, positions:]


def tells_state(dataset: Dataset) -> Bools:
    """[n] bool, the row's observation holds the whole state: no velocity stands at the limit that it is clipped to."""
    if dataset.physics == "synthetic":
        return np.ones(len(dataset), np.bool_)
    velocities = dataset.observations[:, dataset.observations.shape[1] // 2 :]
    whole: Bools = np.all(np.abs(velocities) < RULES[dataset.task.robot.name].velocity_limit, axis=-1)
    return whole
