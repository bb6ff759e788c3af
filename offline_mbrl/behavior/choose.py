"""Chooses medium, expert and replay policies among the snapshots of one training run, and packs them."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from numpy.typing import NDArray

from offline_mbrl.behavior.snapshots import read_snapshots
from offline_mbrl.data.behavior import stochastic
from offline_mbrl.data.builtin.generate import rollout_returns
from offline_mbrl.data.d4rl.catalogue import OFFICIAL_RETURNS
from offline_mbrl.errors import UserError
from offline_mbrl.nn.weights import SavedPolicy
from offline_mbrl.storage.files import write_atomically
from offline_mbrl.tasks import Robot

LADDER = 18
EPISODES = 100
CANDIDATES = 6
CLOSE = 2.0
"""Points of score: among the candidates this near the level, the earliest one is taken."""

Measure = Callable[[int], NDArray[np.float64]]
"""Environment steps of a snapshot -> the returns of its stochastic episodes."""


def pack(
    robot: Robot,
    snapshots: Path,
    out: Path,
    *,
    medium: int | None = None,
    expert: int | None = None,
    ladder: int = LADDER,
) -> Path:
    """Chooses among the snapshots `<steps>.npz` of one training run and writes `out/<robot>.npz`.

    Medium is the earliest snapshot near D4RL's medium level, expert the best one, both judged over `EPISODES`
    stochastic episodes of the candidates that their own recorded scores suggest; `medium` and `expert` (environment
    steps) overrule the choice. The ladder is `ladder` snapshots spread evenly in steps from the first to medium.
    """
    snapshot_list = read_snapshots(snapshots)
    if len(snapshot_list) < 2:
        raise UserError(
            f"{snapshots} holds {len(snapshot_list)} policy snapshots, at least 2 are needed; collect longer"
        )
    steps = np.array(list(snapshot_list))
    scores = np.array([robot.normalized_score(policy.returns).mean() for policy in snapshot_list.values()])
    measure = cache(partial(_measure, robot, snapshot_list))
    medium = _choose_medium(robot, steps, scores, measure) if medium is None else _named(medium, snapshot_list)
    expert = _choose_expert(steps, scores, measure) if expert is None else _named(expert, snapshot_list)
    rungs = steps[steps <= medium]
    chosen = [*np.unique(rungs[np.linspace(0, len(rungs) - 1, min(ladder, len(rungs))).round().astype(int)]), expert]
    loaded = [snapshot_list[int(step)] for step in chosen]
    actors = jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float16), *(policy.actor for policy in loaded))
    out.mkdir(parents=True, exist_ok=True)
    with write_atomically(out / f"{robot.name}.npz") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            steps=np.array(chosen),
            returns=np.array([policy.returns.mean() for policy in loaded]),
            medium_returns=measure(medium),
            expert_returns=measure(expert),
            **{f"actor/{name}": leaf for name, leaf in flatten_dict(actors, sep="/").items()},
        )
    return out / f"{robot.name}.npz"


def medium_score(robot: Robot) -> float:
    """Mean normalized score of D4RL's medium data, what the medium policy is chosen to match."""
    return float(robot.normalized_score(OFFICIAL_RETURNS[f"{robot.name}-medium"].mean))


def _named(steps: int, found: Mapping[int, SavedPolicy]) -> int:
    """The snapshot that the user named by its steps."""
    if steps not in found:
        nearest = min(found, key=lambda known: abs(known - steps))
        raise UserError(f"there is no snapshot of {steps} steps; the nearest is {nearest}")
    return steps


def _measure(robot: Robot, found: Mapping[int, SavedPolicy], step: int) -> NDArray[np.float64]:
    """[EPISODES] stochastic returns of a snapshot rounded as it is shipped."""
    actor = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), found[int(step)].actor)
    return rollout_returns(robot, stochastic(actor), EPISODES, seed=int(step))


def _choose_medium(robot: Robot, steps: NDArray[np.int64], scores: NDArray[np.float64], measure: Measure) -> int:
    level = medium_score(robot)
    candidates = np.sort(steps[np.argsort(np.abs(scores - level))[:CANDIDATES]])
    distance = [abs(robot.normalized_score(measure(int(step))).mean() - level) for step in candidates]
    near = np.flatnonzero(np.array(distance) <= CLOSE)
    return int(candidates[near[0] if near.size else np.argmin(distance)])


def _choose_expert(steps: NDArray[np.int64], scores: NDArray[np.float64], measure: Measure) -> int:
    candidates = steps[np.argsort(scores)[-CANDIDATES:]]
    return int(candidates[np.argmax([measure(int(step)).mean() for step in candidates])])
