"""The data card of a robot's builtin sets: whose policies play them and what they hold, every number measured."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.builtin.behaviors import WEIGHTS, Behaviors, d4rl_medium, load_behaviors
from offline_mbrl.data.builtin.recipe import RECIPE_VERSION, REPLAY_PACE, load_builtin
from offline_mbrl.data.d4rl.catalogue import OFFICIAL_RETURNS, Returns
from offline_mbrl.data.d4rl.reader import load_file
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.summary import Summary, summarize
from offline_mbrl.tasks import DEFAULT_PHYSICS, LEVELS, TASKS, Level, Robot

Floats = NDArray[np.float64]


class Moments(NamedTuple):
    """Per-dimension means and standard deviations of observations, then actions."""

    rows: int
    episodes: int
    mean: Floats  # [obs_dim + action_dim]
    std: Floats  # [obs_dim + action_dim]


class Card(NamedTuple):
    """What a card states."""

    robot: Robot
    behaviors: Behaviors
    provenance: str  # how the robot's own policies were trained, in words
    d4rl: bool  # D4RL's own policy plays medium
    sets: Mapping[Level, Summary]
    medium: Moments
    official: Moments | None  # of an official medium file, or a part of one


def measure(
    robot: Robot,
    rows: int | None = None,
    official: Path | None = None,
    weights: Path = WEIGHTS,
    cache: Path | None = None,
) -> Card:
    """Generates every set at `rows` rows (D4RL's number when None) and measures it.

    `official` is a medium file in D4RL's layout to compare dimension by dimension with.
    """
    summaries: dict[Level, Summary] = {}
    for level in LEVELS:
        dataset = load_builtin(TASKS[f"{robot.name}-{level}"], rows, cache=cache, weights=weights)
        summaries[level] = summarize(dataset)
        if level == "medium":
            medium = moments(dataset)
    return Card(
        robot,
        load_behaviors(robot, weights),
        _provenance(robot, weights),
        d4rl_medium(robot, weights).is_file(),
        summaries,
        medium,
        moments(load_file(TASKS[f"{robot.name}-medium"], official)) if official else None,
    )


def moments(dataset: Dataset) -> Moments:
    """Means and population standard deviations of a data set's columns."""
    columns = (dataset.observations, dataset.actions)
    mean = [column.mean(0, dtype=np.float64) for column in columns]
    std = [column.std(0, dtype=np.float64) for column in columns]
    return Moments(len(dataset), len(dataset.episodes.lengths), np.concatenate(mean), np.concatenate(std))


def render(card: Card) -> str:
    """The card as Markdown."""
    parts = (_title(card), _sets(card), _levels(card), _dimensions(card), _policies(card))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _title(card: Card) -> Iterator[str]:
    name, medium = card.robot.name, "D4RL's own medium policy" if card.d4rl else "our medium policy"
    yield f"# Builtin data of {name}"
    yield ""
    yield f"Rows are generated on first use under `{DEFAULT_PHYSICS}` physics: the bodies' inertials as the MuJoCo of"
    yield "the D4RL data computed them. None is copied from D4RL."
    yield ""
    yield "| set | who plays it | whose it is |"
    yield "|---|---|---|"
    yield f"| {name}-random | uniform actions in [-1, 1] | D4RL's rule |"
    yield f"| {name}-medium | {medium} | {_owner(card)} |"
    yield f"| {name}-medium-replay | the ladder of one training run up to our medium policy, below | ours |"
    yield f"| {name}-medium-expert | one half {medium}, the other our expert | half {_owner(card)}, half ours |"


def _owner(card: Card) -> str:
    return "D4RL's distribution ([CC BY 4.0](d4rl/NOTICE.md))" if card.d4rl else "ours"


def _sets(card: Card) -> Iterator[str]:
    yield "## What they hold"
    yield ""
    yield "Lengths and returns are of complete episodes: mean ± standard error (standard deviation)."
    yield ""
    yield "| set | rows | complete episodes | falls: of episodes, of rows | length | return | normalized score |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_set_row(f"{card.robot.name}-{level}", facts) for level, facts in card.sets.items())


def _set_row(name: str, facts: Summary) -> str:
    count = facts.terminals + facts.timeouts
    falls = f"{facts.terminals / max(count, 1):.1%}, {facts.terminals / facts.rows:.2%}"
    length = _spread(facts.length_mean, facts.length_std, count)
    returns = _spread(facts.return_mean, facts.return_std, count)
    score = _spread(facts.score_mean, facts.score_std, count)
    return f"| {name} | {facts.rows:,} | {count:,} | {falls} | {length} | {returns} | {score} |"


def _levels(card: Card) -> Iterator[str]:
    yield "## Against the official v2 files"
    yield ""
    yield "Returns of all episodes, mean ± standard deviation (number of episodes). The difference is ours minus the"
    yield "official mean, ± the standard error of both, in points of normalized score."
    yield ""
    yield "| set | ours | official | difference |"
    yield "|---|---|---|---|"
    for level, facts in card.sets.items():
        if official := OFFICIAL_RETURNS.get(f"{card.robot.name}-{level}"):
            yield _level_row(card.robot, f"{card.robot.name}-{level}", facts, official)


def _level_row(robot: Robot, name: str, facts: Summary, official: Returns) -> str:
    ours = Returns(facts.return_mean, facts.return_std, facts.terminals + facts.timeouts)
    cells = [f"{one.mean:.1f} ± {one.std:.1f} ({one.episodes:,})" for one in (ours, official)]
    error = np.sqrt(ours.std**2 / max(ours.episodes, 1) + official.std**2 / official.episodes)
    points, spread = robot.score_per_return * np.array([ours.mean - official.mean, error])
    return f"| {name} | {cells[0]} | {cells[1]} | {points:+.1f} ± {spread:.1f} |"


def _dimensions(card: Card) -> Iterator[str]:
    robot, ours, official = card.robot, card.medium, card.official
    observations = [f"observation {index}" for index in range(robot.obs_dim)]
    names = observations + [f"action {index}" for index in range(robot.action_dim)]
    yield f"## {robot.name}-medium, dimension by dimension"
    yield ""
    if official is None:
        yield f"Mean ± standard deviation over {ours.rows:,} rows. No official file was at hand to compare with."
    else:
        yield f"Mean ± standard deviation over {ours.rows:,} rows of ours and {official.rows:,} official ones, of"
        yield f"{official.episodes:,} episodes{_warning(official)}."
        yield "The difference is that of the means, in standard deviations of ours."
    yield ""
    yield "| column | ours | official | difference |" if official else "| column | ours |"
    yield "|---|---|---|---|" if official else "|---|---|"
    yield from (_dimension_row(name, index, ours, official) for index, name in enumerate(names))


def _dimension_row(name: str, index: int, ours: Moments, official: Moments | None) -> str:
    cells = [name, *(f"{one.mean[index]:.3f} ± {one.std[index]:.3f}" for one in (ours, official) if one)]
    if official:
        cells.append(f"{(ours.mean[index] - official.mean[index]) / ours.std[index]:+.2f}")
    return f"| {' | '.join(cells)} |"


def _warning(official: Moments) -> str:
    return ": an excerpt, of which chance moves every figure" if official.episodes < 10 else ""


def _policies(card: Card) -> Iterator[str]:
    robot, behaviors = card.robot, card.behaviors
    yield "## Our own policies"
    yield ""
    yield f"Made by `offline-mbrl data collect {robot.name}`: online soft actor-critic. {card.provenance}"
    yield ""
    yield "| policy | environment steps of training | normalized score of stochastic episodes, mean ± std |"
    yield "|---|---|---|"
    yield f"| end of the ladder | {behaviors.steps[-2]:,} | {_score(robot, behaviors.medium_returns)} |"
    yield f"| expert | {behaviors.steps[-1]:,} | {_score(robot, behaviors.expert_returns)} |"
    yield ""
    ladder = zip(behaviors.steps[:-1], behaviors.returns[:-1], strict=True)
    scores = ", ".join(f"{steps:,} ({robot.normalized_score(value):.0f})" for steps, value in ladder)
    yield f"Replay ladder, {len(behaviors.steps) - 1} snapshots, steps (score over a few episodes): {scores}."
    pace = REPLAY_PACE[robot.name]
    yield f"The first share x of the replay set's rows is played by policies of the first share x^{pace} of the run."
    yield ""
    yield f"SHA-256 of the policies' files end to end: `{behaviors.digest}`; version {RECIPE_VERSION} of the recipe."


def _spread(mean: float, std: float, count: int) -> str:
    """Mean ± standard error (standard deviation)."""
    return f"{mean:,.1f} ± {std / max(count, 1) ** 0.5:.1f} ({std:.1f})"


def _score(robot: Robot, returns: Floats) -> str:
    scores = robot.normalized_score(returns)
    return f"{scores.mean():.1f} ± {scores.std():.1f} ({len(scores)} episodes)"


def _provenance(robot: Robot, weights: Path) -> str:
    path = weights / "provenance.toml"
    known = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if robot.name not in known:
        return "Commit and settings were not recorded."
    return f"Commit `{known[robot.name]['commit']}`. {known[robot.name]['settings']}"
