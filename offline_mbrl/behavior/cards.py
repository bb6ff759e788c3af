"""The data card of a robot's builtin sets: how they are made and what they hold, every number measured."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.behavior.choose import MEDIUM_SCORE
from offline_mbrl.data.builtin.behaviors import WEIGHTS, Behaviors, load_behaviors
from offline_mbrl.data.builtin.recipe import RECIPE_VERSION, full_size, load_builtin
from offline_mbrl.data.summary import Summary, summarize
from offline_mbrl.storage.files import write_text
from offline_mbrl.tasks import DEFAULT_PHYSICS, LEVELS, TASKS, Robot

MEASURED_ROWS = 100_000


def write_card(robot: Robot, commit: str, settings: str, rows: int = MEASURED_ROWS, weights: Path = WEIGHTS) -> Path:
    """Generates `rows` rows of every level and writes `<weights>/<robot>.md`.

    `commit` is the code that trained, `settings` says in words what was not its default.
    """
    tasks = [TASKS[f"{robot.name}-{level}"] for level in LEVELS]
    summaries = {task.name: summarize(load_builtin(task, rows, weights=weights)) for task in tasks}
    path = weights / f"{robot.name}.md"
    write_text(path, card(robot, load_behaviors(robot, weights), summaries, commit, settings))
    return path


def card(robot: Robot, behaviors: Behaviors, summaries: Mapping[str, Summary], commit: str, settings: str) -> str:
    """The card's Markdown; `summaries` by task name."""
    medium, expert = behaviors.steps[behaviors.medium], behaviors.steps[behaviors.expert]
    return "\n".join(
        [
            f"# Builtin data of {robot.name}",
            "",
            f"Made by `offline-mbrl data collect {robot.name}` (online soft actor-critic, commit `{commit}`) under",
            f"`{DEFAULT_PHYSICS}` physics: the bodies' inertials as the MuJoCo of the D4RL data computed them. "
            f"{settings}",
            "Data are generated from the policies on first use; they are not D4RL's and share no column with it.",
            "",
            "| policy | environment steps of training | normalized score of stochastic episodes |",
            "|---|---|---|",
            f"| medium (D4RL's level: {MEDIUM_SCORE[robot.name]:.0f}) | {medium:,} | "
            f"{_score(robot, behaviors.medium_returns)} |",
            f"| expert | {expert:,} | {_score(robot, behaviors.expert_returns)} |",
            "",
            f"Replay ladder, {behaviors.medium + 1} snapshots up to medium, steps (score over a few episodes): "
            + ", ".join(
                f"{steps:,} ({robot.normalized_score(value):.0f})"
                for steps, value in zip(behaviors.steps[:-1], behaviors.returns[:-1], strict=True)
            )
            + ".",
            "",
            "| set | full size | measured rows | complete episodes | mean length | normalized score, mean ± std |",
            "|---|---|---|---|---|---|",
            *(_row(name, summary) for name, summary in summaries.items()),
            "",
            f"Weights: `{robot.name}.npz`, SHA-256 `{behaviors.digest}`; recipe {RECIPE_VERSION}.",
            "",
        ]
    )


def _row(name: str, facts: Summary) -> str:
    complete = facts.terminals + facts.timeouts
    return (
        f"| {name} | {full_size(TASKS[name]):,} | {facts.rows:,} | {complete:,} | {facts.mean_length:.0f} | "
        f"{facts.score_mean:.1f} ± {facts.score_std:.1f} |"
    )


def _score(robot: Robot, returns: NDArray[np.float64]) -> str:
    scores = robot.normalized_score(returns)
    return f"{scores.mean():.1f} ± {scores.std():.1f} ({len(scores)} episodes)"
