"""The twelve D4RL MuJoCo tasks: their robots, reference returns and names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from offline_mbrl.errors import UserError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

RobotName = Literal["halfcheetah", "hopper", "walker2d"]
Level = Literal["random", "medium", "medium-replay", "medium-expert"]
Physics = Literal["d4rl-v2", "gymnasium-v4"]

LEVELS: tuple[Level, ...] = get_args(Level)
PHYSICS: tuple[Physics, ...] = get_args(Physics)
DEFAULT_PHYSICS: Physics = "d4rl-v2"
"""What D4RL's data were made under, and so what its scores are defined on."""


@dataclass(frozen=True)
class Robot:
    """A simulated body and the scale of its score.

    `random_return` and `expert_return` are D4RL's undiscounted reference returns
    (Fu et al. 2020, arXiv 2004.07219; `infos.py` of Farama's D4RL); `horizon` counts control steps.
    """

    name: str
    obs_dim: int
    action_dim: int
    frame_skip: int
    random_return: float
    expert_return: float
    horizon: int = 1000

    def normalized_score(self, returns: ArrayLike) -> NDArray[np.float64]:
        """100 (R - R_random) / (R_expert - R_random), elementwise."""
        import numpy as np  # here: the command line's help does without it

        return self.score_per_return * (np.asarray(returns, np.float64) - self.random_return)

    @property
    def score_per_return(self) -> float:
        """Points of normalized score per unit of return: the only factor a standard deviation is scaled by."""
        return 100.0 / (self.expert_return - self.random_return)


ROBOTS: dict[str, Robot] = {
    robot.name: robot
    for robot in (
        Robot("halfcheetah", 17, 6, 5, -280.178953, 12135.0),
        Robot("hopper", 11, 3, 4, -20.272305, 3234.3),
        Robot("walker2d", 17, 6, 4, 1.629008, 4592.3),
    )
}


@dataclass(frozen=True)
class Task:
    """One of the twelve benchmark problems: a robot and the quality of the behavior in its data."""

    robot: Robot
    level: str

    @property
    def name(self) -> str:
        return f"{self.robot.name}-{self.level}"


TASKS: dict[str, Task] = {
    task.name: task for task in (Task(robot, level) for robot in ROBOTS.values() for level in LEVELS)
}


def get_robot(name: str) -> Robot:
    """The robot called `name`, in any letter case; `UserError` with a suggestion otherwise."""
    if name.lower() not in ROBOTS:
        raise unknown_name("robot", name, ROBOTS)
    return ROBOTS[name.lower()]


def get_task(name: str) -> Task:
    """The task called `name`: ours, `hopper-medium`, or D4RL's, `hopper-medium-v2`, in any letter case.

    Raises:
      UserError: there is no such task (the nearest is suggested), or it is D4RL's v0 or v1, which hold other data.
    """
    plain, version = _split_version(name)
    if plain not in TASKS:
        raise unknown_name("task", name, TASKS)
    if version in ("0", "1"):
        raise UserError(
            f"task '{name}': {plain} means D4RL's v2 here; for the v{version} data, which are others, name the task "
            f"{plain} and its file with --source d4rl-v{version}"
        )
    if version not in ("", "2"):
        raise unknown_name("task", name, TASKS)
    return TASKS[plain]


def _split_version(name: str) -> tuple[str, str]:
    """`Hopper_Medium-v2` -> ("hopper-medium", "2"); without a version the second part is empty."""
    plain = name.lower().replace("_", "-")
    match = re.fullmatch(r"(.+)-v(\d+)", plain)
    return (match[1], match[2]) if match else (plain, "")
