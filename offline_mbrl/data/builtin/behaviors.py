"""The behavior policies that ship with the package: for each robot a ladder of snapshots of one training run.

One archive per robot: the actors' weights stacked along a first axis [K, ...] as float16, the environment steps each
had been trained for, and the returns of their stochastic episodes under d4rl-v2 physics. Beside it, in `d4rl/`, lies
the policy that made D4RL's own medium data, as the official file stores it: where it is there, medium data are its.
"""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from numpy.typing import NDArray

from offline_mbrl.data.behavior import Behavior, stochastic
from offline_mbrl.data.d4rl.policy import read_policy
from offline_mbrl.errors import UserError
from offline_mbrl.nn.networks import Params
from offline_mbrl.tasks import Robot

WEIGHTS = Path(__file__).parent / "weights"


class Behaviors(NamedTuple):
    """K policies of one robot: the ladder in the order of training, up to the medium policy, then the expert."""

    actors: Params  # every leaf [K, ...]
    steps: NDArray[np.int64]  # [K] environment steps of training
    returns: NDArray[np.float64]  # [K] mean undiscounted return over a few stochastic episodes
    medium_returns: NDArray[np.float64]  # [>= 100] of the medium policy's stochastic episodes
    expert_returns: NDArray[np.float64]  # [>= 100] of the expert's
    medium_behavior: Behavior  # what plays medium data: D4RL's own policy where it ships, else the ladder's last
    digest: str  # SHA-256 (hex) of the files

    @property
    def medium(self) -> int:
        return len(self.steps) - 2

    @property
    def expert(self) -> int:
        return len(self.steps) - 1

    def actor(self, index: int) -> Params:
        """One policy's weights as float32."""
        return _at(self.actors, index)


def load_behaviors(robot: Robot, folder: Path = WEIGHTS) -> Behaviors:
    """The policies in `folder/<robot>.npz`."""
    path = folder / f"{robot.name}.npz"
    if not path.is_file():
        raise UserError(
            f"no behavior policies for {robot.name} in {folder}; use another --source, or train some with "
            f"`offline-mbrl data collect {robot.name}`"
        )
    with np.load(path) as archive:
        actors = {name[6:]: archive[name] for name in archive.files if name.startswith("actor/")}
        arrays = {field: archive[field] for field in ("steps", "returns", "medium_returns", "expert_returns")}
    stacked = unflatten_dict(actors, sep="/")
    files = [path]
    medium = stochastic(_at(stacked, len(arrays["steps"]) - 2))
    if (logged := d4rl_medium(robot, folder)).is_file():
        files.append(logged)
        medium = read_policy(logged, robot).behavior
    digest = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return Behaviors(stacked, **arrays, medium_behavior=medium, digest=digest)


def d4rl_medium(robot: Robot, folder: Path = WEIGHTS) -> Path:
    """Where D4RL's own medium policy lies among the weights in `folder`."""
    return folder / "d4rl" / f"{robot.name}-medium.npz"


def _at(actors: Params, index: int) -> Params:
    """One policy of a stack, as float32."""
    return jax.tree.map(lambda leaf: leaf[index].astype(np.float32), actors)
