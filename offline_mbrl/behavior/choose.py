"""Chooses medium, expert and replay policies among the snapshots of one training run, and packs them."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from numpy.typing import NDArray

from offline_mbrl.data.behavior import stochastic
from offline_mbrl.data.builtin.generate import rollout_returns
from offline_mbrl.errors import UserError
from offline_mbrl.nn import weights as policies
from offline_mbrl.storage.files import write_atomically
from offline_mbrl.tasks import Robot

MEDIUM_SCORE = {"hopper": 44.0, "walker2d": 62.0, "halfcheetah": 41.0}
"""Mean normalized score of D4RL's medium data, what the medium policy is chosen to match."""


LADDER = 18


EPISODES = 100


CANDIDATES = 6


CLOSE = 2.0  # points: among the candidates this near the level, the earliest one is taken


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
    files = {int(path.stem): path for path in sorted(snapshots.glob("*.npz"))}
    if len(files) < 2:
        raise UserError(f"{snapshots} holds {len(files)} policy snapshots, at least 2 are needed; collect longer")
    steps = np.array(list(files))
    scores = np.array([robot.normalized_score(policies.load(path).returns).mean() for path in files.values()])
    measure = cache(partial(_measure, robot, files))
    medium = medium or _choose_medium(robot, steps, scores, measure)
    expert = expert or _choose_expert(steps, scores, measure)
    rungs = steps[steps <= medium]
    chosen = [*np.unique(rungs[np.linspace(0, len(rungs) - 1, min(ladder, len(rungs))).round().astype(int)]), expert]
    loaded = [policies.load(files[step]) for step in chosen]
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


def _measure(robot: Robot, files: dict[int, Path], step: int) -> NDArray[np.float64]:
    """[EPISODES] stochastic returns of a snapshot rounded as it is shipped."""
    actor = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), policies.load(files[int(step)]).actor)
    return rollout_returns(robot, stochastic(actor), EPISODES, seed=int(step))


def _choose_medium(robot: Robot, steps: NDArray[np.int64], scores: NDArray[np.float64], measure: Measure) -> int:
    level = MEDIUM_SCORE[robot.name]
    candidates = np.sort(steps[np.argsort(np.abs(scores - level))[:CANDIDATES]])
    distance = [abs(robot.normalized_score(measure(int(step))).mean() - level) for step in candidates]
    near = np.flatnonzero(np.array(distance) <= CLOSE)
    return int(candidates[near[0] if near.size else np.argmin(distance)])


def _choose_expert(steps: NDArray[np.int64], scores: NDArray[np.float64], measure: Measure) -> int:
    candidates = steps[np.argsort(scores)[-CANDIDATES:]]
    return int(candidates[np.argmax([measure(int(step)).mean() for step in candidates])])
