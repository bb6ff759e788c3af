"""Data sets generated from the behavior policies that ship with the package, by D4RL's protocol (arXiv 2004.07219).

random: uniform actions. medium: the medium policy. medium-replay: the training run up to medium, every step of it
played by the snapshot nearest to it, those nearest to its start by uniform actions. medium-expert: half medium, half
expert.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from offline_mbrl.data.behavior import Behavior, stochastic, uniform
from offline_mbrl.data.builtin.behaviors import WEIGHTS, Behaviors, load_behaviors
from offline_mbrl.data.builtin.generate import Rows, generate, join
from offline_mbrl.data.cache import cache_folder, cached
from offline_mbrl.data.dataset import Dataset, from_raw
from offline_mbrl.errors import UserError
from offline_mbrl.progress import progress
from offline_mbrl.tasks import Physics, Task

RECIPE = 2
"""Raised when the same request would give other rows: it is part of every cache file's name."""

REPLAY_ROWS = {"hopper": 402_000, "walker2d": 302_000, "halfcheetah": 202_000}
ROWS = {"random": 1_000_000, "medium": 1_000_000, "medium-expert": 2_000_000}


class Segment(NamedTuple):
    """Rows up to `until`, counted from the set's start, made by one policy."""

    policy: str  # names the stream of randomness: sets that share a policy share its episodes
    behavior: Behavior
    until: int
    cut: bool = True  # its last episode, at `until`; otherwise that one ends first, at the cost of the next segment


def full_size(task: Task) -> int:
    """D4RL's number of rows."""
    return REPLAY_ROWS[task.robot.name] if task.level == "medium-replay" else ROWS[task.level]


def set_name(task: Task, size: int | None = None) -> str:
    """`hopper-medium` at D4RL's size or asked for more, `hopper-medium@100k` at a reduced one."""
    if size is None or size >= full_size(task):
        return task.name
    return f"{task.name}@{size // 1000}k" if size % 1000 == 0 else f"{task.name}@{size}"


def load_builtin(
    task: Task,
    size: int | None = None,
    physics: Physics = "d4rl-v2",
    cache: Path | None = None,
    weights: Path = WEIGHTS,
) -> Dataset:
    """`size` rows of the task (D4RL's number when None, and at most), generated once and then read from the cache."""
    if size is not None and size < 1:
        raise UserError(f"a data set of {size} rows cannot be made; ask for at least 1")
    behaviors = load_behaviors(task.robot, weights)
    name = set_name(task, size)
    recipe = f"{behaviors.digest[:12]}-{RECIPE}"
    path = cache_folder(cache) / "builtin" / f"{name}-{physics}-{recipe}.npz"

    def build() -> Dataset:
        rows = min(size or full_size(task), full_size(task))
        with progress(f"generating {name}", rows, lines=False) as report:
            return make(task, behaviors, rows, physics, report)

    return cached(path, build)


def make(
    task: Task,
    behaviors: Behaviors,
    size: int,
    physics: Physics = "d4rl-v2",
    report: Callable[[int], None] = lambda done: None,
) -> Dataset:
    """Generates `size` rows; equal arguments give equal rows, on any number of threads."""
    parts: list[Rows] = []
    done = 0
    for segment in segments(task, behaviors, size):
        if segment.until > done:
            parts.append(_play(task, segment, done, physics, report))
            done += len(parts[-1].rewards)
    return from_raw(task, source="builtin", name=set_name(task, size), physics=physics, **join(parts, size)._asdict())


def _play(task: Task, segment: Segment, done: int, physics: Physics, report: Callable[[int], None]) -> Rows:
    """The segment's rows, `done` of the set being there."""
    return generate(
        task.robot,
        segment.behavior,
        segment.until - done,
        crc32(f"{task.robot.name}/{segment.policy}".encode()),
        physics,
        cut=segment.cut,
        report=lambda rows: report(done + rows),
    )


def segments(task: Task, behaviors: Behaviors, size: int) -> list[Segment]:
    """Who plays which rows of a set of `size`."""
    medium = Segment("medium", behaviors.medium_behavior, size)
    match task.level:
        case "random":
            return [Segment("random", uniform(task.robot), size)]
        case "medium":
            return [medium]
        case "medium-expert":
            return [
                medium._replace(until=size // 2),
                Segment("expert", stochastic(behaviors.actor(behaviors.expert)), size),
            ]
        case "medium-replay":
            return replay_segments(task, behaviors, size)


def replay_segments(task: Task, behaviors: Behaviors, size: int) -> list[Segment]:
    """Training steps 0 to medium scaled to `size` rows, each step played by the nearest of step 0 and the ladder."""
    steps = np.concatenate([[0], behaviors.steps[: behaviors.medium + 1]])
    bounds = np.append((steps[:-1] + steps[1:]) / 2, steps[-1]) / steps[-1]
    until = np.round(bounds * size).astype(int).tolist()
    # As in training, the policy changes between episodes: only the set's last one is cut.
    rungs = [
        Segment(f"replay-{index}", stochastic(behaviors.actor(index)), rows, cut=rows == size)
        for index, rows in enumerate(until[1:])
    ]
    return [Segment("random", uniform(task.robot), until[0], cut=False), *rungs]
