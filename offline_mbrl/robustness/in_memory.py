"""Robustness of a run that was trained in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.robustness.evaluate import Policies, measure
from offline_mbrl.robustness.protocol import WHAT, Protocol, What, choose_attacks
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics
from offline_mbrl.training.experiment import TrainedRun


def measure_robustness(
    run: TrainedRun,
    data: Dataset,
    *,
    what: Sequence[What] = WHAT,
    attacks: Sequence[str] = (),
    episodes: int = 10,
    points: int = 10,
    draws: int = 50,
    physics: Physics = DEFAULT_PHYSICS,
) -> list[dict[str, Any]]:
    """What a trained run is worth under changed physics, attacked observations and bad sensors.

    Args:
      run: all of its seeds are measured, with the mean action.
      data: its observations' standard deviation is the unit of attacks and noise.
      what: "physics", "attacks", "sensors".
      attacks: by name; all that the system can have when empty.
      episodes: of each point and seed.
      points: on each axis; the grid of friction and gravity has their square.
      draws: of an attack that samples.
      physics: of the simulator, before it is changed.

    Returns:
      A record for each point and seed: its kind, where it lies on its axes, the episodes' returns and their score.

    Raises:
      UserError: an attack is unknown, or asks critics that the system has not.
    """
    algorithm, state = run.system.algorithm, run.program.deploy(run.state)
    chosen = choose_attacks(attacks, algorithm.value is not None, run.system.name)
    std = data.observations.std(axis=0, dtype=np.float64).astype(np.float32)
    policies = Policies(algorithm, run.program.act, state, run.seeds, run.step, run.system.task.robot, physics, std)
    protocol = Protocol(tuple(what), episodes, points, draws, attacks=chosen)
    return [record for batch in measure(policies, protocol) for record in batch]
