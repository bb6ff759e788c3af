"""What each row of a table amounts to over tasks, and where it stands among the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from offline_mbrl.results.groups import LOST, Group, Row, column_order
from offline_mbrl.results.intervals import difference
from offline_mbrl.results.query import Column, Curve
from offline_mbrl.results.statistics import (
    STATISTICS,
    Band,
    Estimate,
    Floats,
    estimate,
    estimate_curve,
    performance_profile,
)

Cells = Mapping[tuple[Row, Column], Group]


@dataclass(frozen=True)
class Aggregate:
    """A row over the tasks that all rows have: `estimates` by the names of `STATISTICS`, `rank` the mean over tasks."""

    row: Row
    estimates: Mapping[str, Estimate]
    rank: float


def aggregate(groups: Sequence[Group]) -> list[Aggregate]:
    """One for each row, in the order of `groups`, over `shared_columns`; none where no column is shared."""
    columns = shared_columns(groups)
    if not columns:
        return []
    ranks = mean_ranks(groups)
    return [
        Aggregate(row, {name: estimate(scores, statistic) for name, statistic in STATISTICS.items()}, ranks[row])
        for row, scores in scores_by_row(groups).items()
    ]


def shared_columns(groups: Sequence[Group]) -> list[Column]:
    """The columns where every row that has a seed that counts anywhere has one, in the benchmark's order."""
    scored = as_cells(groups)
    rows, columns = {row for row, _ in scored}, {column for _, column in scored}
    return sorted((one for one in columns if all((row, one) in scored for row in rows)), key=column_order)


def scores_by_row(groups: Sequence[Group]) -> dict[Row, list[Floats]]:
    """The final scores [n_seeds] of each row that has any, for each of `shared_columns`."""
    scored, columns = as_cells(groups), shared_columns(groups)
    return {row: [scored[row, column].final_scores for column in columns] for row, _ in scored}


def mean_ranks(groups: Sequence[Group]) -> dict[Row, float]:
    """Mean over `shared_columns` of each row's rank by its mean score: 1 is the best, ties share the mean rank."""
    scores = scores_by_row(groups)
    means = np.array([[task.mean() for task in tasks] for tasks in scores.values()])
    return {row: float(rank) for row, rank in zip(scores, rankdata(-means, axis=0).mean(axis=1), strict=True)}


def best(groups: Sequence[Group]) -> set[tuple[Row, Column]]:
    """In each column the highest mean and those whose Welch interval of the difference from it holds 0.

    None in a column where that tells no row apart, or where the highest is of a single seed; a single seed is never
    among them.
    """
    cells: set[tuple[Row, Column]] = set()
    for column in {group.column for group in groups}:
        rivals = [group for group in groups if group.column == column and group.counted]
        top = max(rivals, key=lambda group: group.final_scores.mean(), default=None)
        if top is not None and len(top.counted) > 1:
            several = [group for group in rivals if len(group.counted) > 1]
            equals = [group for group in several if group is top or not _is_worse(group, top)]
            cells |= {(group.row, column) for group in equals if len(equals) < len(several)}
    return cells


def profiles(groups: Sequence[Group], thresholds: ArrayLike) -> dict[Row, Band]:
    """The performance profile of each row over `shared_columns`: the share of seeds above each threshold [n]."""
    return {row: performance_profile(scores, thresholds) for row, scores in scores_by_row(groups).items() if scores}


class StepCurve(NamedTuple):
    """A statistic over tasks and seeds against gradient steps."""

    steps: list[int]
    band: Band


def aggregate_curves(groups: Sequence[Group], points: int) -> dict[Row, StepCurve]:
    """The interquartile mean of each row over `shared_columns` at the gradient steps that all its seeds share.

    Of more than `points` steps as many are taken, evenly spread. A row whose tasks share no step has no curve.
    """
    scored, columns = as_cells(groups), shared_columns(groups)
    curves: dict[Row, StepCurve] = {}
    for row in {row: None for row, _ in scored} if columns else ():
        own = [scored[row, column] for column in columns]
        shared = sorted(set.intersection(*(set(shared_steps(group.counted)) for group in own)))
        steps = [shared[place] for place in thinned(len(shared), points)]
        if steps:
            curves[row] = StepCurve(steps, estimate_curve([scores_at(group.counted, steps) for group in own]))
    return curves


def thinned(length: int, limit: int) -> list[int]:
    """At most `limit` places of [0, length), evenly spread, with the first and the last."""
    if length <= limit:
        return list(range(length))
    return [round(place * (length - 1) / (limit - 1)) for place in range(limit)]


def shared_steps(curves: Sequence[Curve]) -> list[int]:
    """The steps that all seeds were evaluated at; lost ones, which hold their last score, do not cut the others off."""
    going = [set(curve.at) for curve in curves if curve.status not in LOST]
    return sorted(set.intersection(*going) if going else {step for curve in curves for step in curve.at})


def scores_at(curves: Sequence[Curve], steps: Sequence[int]) -> Floats:
    """Scores [n_curves, n_steps]; where a curve has none it holds the last before, and 0 before its first."""
    return np.array([_held(curve, steps) for curve in curves], np.float64).reshape(len(curves), len(steps))


def as_cells(groups: Sequence[Group]) -> Cells:
    """The groups with a seed that counts, by row and column."""
    return {(group.row, group.column): group for group in groups if group.counted}


def _held(curve: Curve, steps: Sequence[int]) -> Floats:
    values = np.array([0.0, *curve.scores])
    return values[np.searchsorted(curve.at, steps, side="right")]


def _is_worse(group: Group, top: Group) -> bool:
    """Whether the interval of `group` minus `top` lies below 0; seeds that are all alike have none, and need none."""
    gap = difference(group.final_scores, top.final_scores, paired=False)
    return gap.value < 0 if gap.high is None else gap.high < 0
