"""Episodes kept step by step, to be shown: where every robot was, and its score so far."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.simulation.evaluate import Policy
from offline_mbrl.simulation.rules import Floats
from offline_mbrl.simulation.simulator import Simulator


class Played(NamedTuple):
    """T control steps of R robots; one that ended stays where it was."""

    qpos: Floats  # [T + 1, R, nq] generalized positions
    score: Floats  # [T + 1, R] normalized score of the return so far
    alive: NDArray[np.bool_]  # [T + 1, R] it had not ended before this step


def play(policy: Policy, simulator: Simulator, seeds: NDArray[np.integer], steps: int) -> Played:
    """One episode from each reset seed [S, E], `steps` control steps at most."""
    obs, robot = simulator.reset(seeds.ravel().tolist()), simulator.robot
    active, returns = np.ones(seeds.size, np.bool_), np.zeros(seeds.size)
    qpos, scores, alive = [simulator.qpos], [robot.normalized_score(returns)], [active.copy()]
    for _ in range(steps):
        actions = np.asarray(policy(obs.astype(np.float32).reshape(*seeds.shape, -1)), np.float32)
        step = simulator.step(actions.reshape(seeds.size, -1), active)
        returns = returns + step.reward
        active = active & ~(step.terminated | step.truncated)
        obs = step.obs
        qpos.append(simulator.qpos)
        scores.append(robot.normalized_score(returns))
        alive.append(active.copy())
        if not active.any():
            break
    return Played(np.array(qpos), np.array(scores), np.array(alive))


def save_played(played: Played, path: Path) -> None:
    """Writes it for another process."""
    np.savez(path, **played._asdict())


def read_played(path: Path) -> Played:
    """What `save_played` wrote."""
    with np.load(path) as arrays:
        return Played(*(arrays[name] for name in Played._fields))
