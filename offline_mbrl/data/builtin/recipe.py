"""Data sets generated from the behavior policies that ship with the package, by D4RL's protocol (arXiv 2004.07219).

random: uniform actions. medium: the medium policy. medium-replay: the training run up to medium, every step of it
played by the snapshot nearest to it, those nearest to its start by uniform actions; how fast the rows move along the
run is `REPLAY_PACE`. medium-expert: half medium, half expert.
"""

from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from offline_mbrl.data.behavior import Behavior, stochastic, uniform
from offline_mbrl.data.builtin.behaviors import WEIGHTS, Behaviors, load_behaviors
from offline_mbrl.data.builtin.generate import Report, Rows, generate, join
from offline_mbrl.data.cache import cache_folder, load_or_build
from offline_mbrl.data.dataset import Dataset, check_size, from_raw
from offline_mbrl.errors import UserError
from offline_mbrl.progress import progress
from offline_mbrl.tasks import DEFAULT_PHYSICS, LEVELS, Physics, Robot, Task

RECIPE_VERSION = 4
"""Raised when the same request would give other rows: it is part of every cache file's name."""

REPLAY_ROWS = {"hopper": 402_000, "walker2d": 302_000, "halfcheetah": 202_000}
ROWS = {"random": 1_000_000, "medium": 1_000_000, "medium-expert": 2_000_000}

REPLAY_PACE = {"hopper": 0.6, "walker2d": 1.0, "halfcheetah": 0.6}
"""p of each robot's replay set: the first share x of its rows was made in the first share x^p of the training run.

1 is the run's own pace; below it the early, bad policies have fewer rows. The one number that is fitted: with it the
mean score of the full set's complete episodes is within two points of the official v2 set's, for which our run alone
is not a good enough model of D4RL's. Measured: 15.0, 15.0 and 26.2 for the official 15.0, 14.8 and 27.2.
"""


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
    return f"{task.name}@{size_label(size)}"


def size_label(size: int) -> str:
    """`100k`, or every digit where it is not in thousands."""
    return f"{size // 1000}k" if size % 1000 == 0 else str(size)


def load_builtin(
    task: Task,
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    cache: Path | None = None,
    weights: Path = WEIGHTS,
) -> Dataset:
    """`size` rows of the task (D4RL's number when None, and at most), generated once and then read from the cache."""
    check_size(size)
    behaviors = load_behaviors(task.robot, weights)
    name = set_name(task, size)
    rows = full_size(task) if size is None else min(size, full_size(task))
    recipe = f"{behaviors.digest[:12]}-{RECIPE_VERSION}"
    path = cache_folder(cache) / "builtin" / f"{name}-{physics}-{recipe}.npz"

    def build() -> Dataset:
        with progress(f"generating {name}", rows, lines=False) as report:
            return make(task, behaviors, rows, physics, report)

    return load_or_build(path, build)


def make(
    task: Task,
    behaviors: Behaviors,
    size: int,
    physics: Physics = DEFAULT_PHYSICS,
    report: Report = lambda done: None,
) -> Dataset:
    """Generates `size` rows; equal arguments give equal rows, on any number of threads.

    And on every processor on which the C library, of which MuJoCo takes sine and cosine, rounds them alike.
    """
    rows = play(task.robot, segments(task, behaviors, size), physics, report)
    return from_raw(task, source="builtin", name=set_name(task, size), physics=physics, **rows._asdict())


def play(robot: Robot, plan: list[Segment], physics: Physics, report: Report) -> Rows:
    """The rows of a plan, whose last segment says how many they are."""
    parts: list[Rows] = []
    done = 0
    for segment in plan:
        if segment.until > done:
            parts.append(_play(robot, segment, done, physics, report))
            done += len(parts[-1].rewards)
    return join(parts, plan[-1].until)


def _play(robot: Robot, segment: Segment, done: int, physics: Physics, report: Report) -> Rows:
    """The segment's rows, `done` of the set being there."""
    return generate(
        robot,
        segment.behavior,
        segment.until - done,
        crc32(f"{robot.name}/{segment.policy}".encode()),
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
        case _:
            raise UserError(f"there is no builtin data of level '{task.level}'; the levels are {', '.join(LEVELS)}")


def replay_segments(task: Task, behaviors: Behaviors, size: int) -> list[Segment]:
    """The training run up to medium as `size` rows, each played by the nearest of step 0 and the ladder."""
    steps = np.concatenate([[0], behaviors.steps[: behaviors.medium + 1]])
    changes = np.append((steps[:-1] + steps[1:]) / 2, steps[-1]) / steps[-1]
    until = np.round(changes ** (1 / REPLAY_PACE[task.robot.name]) * size).astype(int).tolist()
    # As in training, the policy changes between episodes: only the set's last one is cut.
    rungs = [
        Segment(f"replay-{index}", stochastic(behaviors.actor(index)), rows, cut=rows == size)
        for index, rows in enumerate(until[1:])
    ]
    return [Segment("random", uniform(task.robot), until[0], cut=False), *rungs]
