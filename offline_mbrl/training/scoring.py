"""Scores the policies of all lanes at once, for every way of acting that a system has."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.algorithms.algorithm import State
from offline_mbrl.simulation.evaluate import Judge, evaluate, reset_seeds
from offline_mbrl.tasks import Robot
from offline_mbrl.training.loop import Program

Record = dict[str, Any]


def score_lanes(
    program: Program, deployed: State, judge: Judge, robot: Robot, seeds: Sequence[int], step: int, episodes: int
) -> list[list[Record]]:
    """For each lane one record for every way of acting: the episodes' returns and their mean normalized score.

    Args:
      program: of the lanes.
      deployed: [lanes], as `program.deploy` gives the states after `step` gradient steps.
      judge: a simulator of lanes * episodes rows.
      robot: the scale of the score.
      seeds: of the lanes; a lane's starts depend on its seed, the step and the episode alone.
      step: enters the records and the starts.
      episodes: for each lane.
    """
    starts = reset_seeds(seeds, step, episodes)
    lanes: list[list[Record]] = [[] for _ in seeds]
    for variant, act in ways_of_acting(program):
        returns = evaluate(partial(act, deployed), judge, starts).returns
        for lane, seed, row in zip(lanes, seeds, returns, strict=True):
            lane.append(_record(robot, variant, seed, step, row))
    return lanes


def ways_of_acting(program: Program) -> list[tuple[str, Callable[..., Any]]]:
    """The variants by name, or the one way of acting under no name."""
    return list(program.variants.items()) or [("", program.act)]


def metric_records(seeds: Sequence[int], step: int, metrics: Mapping[str, NDArray[Any]]) -> list[Record]:
    """For each seed one record of its metrics [S], means over the gradient steps of the period that ended at `step`."""
    return [
        {"seed": seed, "step": step} | {name: float(values[row]) for name, values in metrics.items()}
        for row, seed in enumerate(seeds)
    ]


def _record(robot: Robot, variant: str, seed: int, step: int, returns: NDArray[np.float64]) -> Record:
    named = {"variant": variant} if variant else {}
    score = robot.normalized_score(returns).mean()
    return {"seed": seed, "step": step, **named, "returns": returns, "score": score}
