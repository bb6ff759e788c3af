"""What holds over all tasks: aggregates, performance profiles, probabilities of improvement, and the conclusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from offline_mbrl.results.aggregates import (
    Aggregate,
    aggregate,
    aggregate_curves,
    profiles,
    scores_by_row,
    shared_columns,
)
from offline_mbrl.results.compare import compare_groups
from offline_mbrl.results.groups import Group, Row, row_label
from offline_mbrl.results.numbers import Style, with_interval
from offline_mbrl.results.query import Column
from offline_mbrl.results.report import digits
from offline_mbrl.results.report.sheet import Sheet
from offline_mbrl.results.statistics import STATISTICS, Band, Estimate, Floats, estimate_improvement

LOWER_IS_BETTER = "optimality gap"
MAIN = "IQM"
PROFILE_POINTS = 51
STEP_POINTS = 40
TENTHS = Style(1)


@dataclass(frozen=True)
class Overall:
    """Statistics of the rows of `groups` over the columns that all of them have."""

    groups: Sequence[Group]

    @cached_property
    def columns(self) -> list[Column]:
        return shared_columns(self.groups)

    @cached_property
    def ranked(self) -> list[Aggregate]:
        """The rows from the best interquartile mean to the worst."""
        return sorted(aggregate(self.groups), key=lambda one: -one.estimates[MAIN].value)

    @cached_property
    def scores(self) -> dict[Row, list[Floats]]:
        """[n_seeds] for each row and column."""
        return scores_by_row(self.groups)

    @cached_property
    def thresholds(self) -> Floats:
        """[n] scores at which profiles are drawn."""
        pooled = np.concatenate([scores for tasks in self.scores.values() for scores in tasks])
        return np.linspace(min(0.0, float(pooled.min())), max(1.0, float(pooled.max())), PROFILE_POINTS)

    @cached_property
    def improvements(self) -> dict[tuple[Row, Row], Estimate]:
        """The probability that a seed of the first row beats one of the second, for each pair."""
        rows = [one.row for one in self.ranked]
        pairs = [(x, y) for place, x in enumerate(rows) for y in rows[place + 1 :]]
        upper = {(x, y): estimate_improvement(self.scores[x], self.scores[y]) for x, y in pairs}
        return upper | {(y, x): _complement(found) for (x, y), found in upper.items()}


def overall(sheet: Sheet) -> Overall | None:
    """Of the rows with a score on every column if there are two (or there is but one row), else of all with a score.

    None where these share no column.
    """
    columns = list(sheet.columns)
    complete = [row for row in sheet.rows if all(sheet.scored(row, column) for column in columns)]
    scored = [row for row in sheet.rows if any(sheet.scored(row, column) for column in columns)]
    rows = complete if len(complete) >= min(2, len(sheet.rows)) else scored
    found = Overall([group for group in sheet.groups if group.row in rows])
    return found if found.columns else None


def conclusion(found: Overall | None) -> list[str]:
    """What the numbers say, in sentences, the main one first; from the third on they are details."""
    if found is None:
        return ["No task has scores of all systems yet, so nothing is said over tasks; see the table of scores."]
    first, *others = found.ranked
    over = digits.plural(len(found.columns), "task")
    best = f"{row_label(first.row)} has an interquartile mean of {_main(first)} over {over}"
    if not others:
        return [f"{best}."]
    second = others[0]
    pair = [group for group in found.groups if group.row in (first.row, second.row)]
    (compared,) = compare_groups(pair, row_label(second.row))
    return [
        f"{best}, the highest of {digits.plural(len(found.ranked), 'system')}; {row_label(second.row)} follows with "
        f"{_main(second)}.",
        " ".join(compared.sentences[:2]),
        *compared.sentences[2:],
    ]


def set_aside(found: Overall | None, sheet: Sheet) -> list[str]:
    """Who and what is not in the aggregates."""
    if found is None:
        return []
    compared = {group.row for group in found.groups}
    missing = ", ".join(sheet.row_names[row] for row in sheet.rows if row not in compared)
    sentences = [f"Not compared, as scores on some task are missing: {missing}."] if missing else []
    if len(found.columns) < len(sheet.columns):
        sentences.append(f"Over the {len(found.columns)} of {len(sheet.columns)} tasks that all of them have.")
    return sentences


def chart(found: Overall | None, sheet: Sheet) -> dict[str, Any] | None:
    """What the page's script draws; rows are places in the sheet's list of rows, the best first."""
    if found is None:
        return None
    rows = [one.row for one in found.ranked]
    bands, over_steps = profiles(found.groups, found.thresholds), aggregate_curves(found.groups, STEP_POINTS)
    return {
        "rows": [sheet.rows.index(row) for row in rows],
        "statistics": [
            {
                "name": name,
                "lower": name == LOWER_IS_BETTER,
                "estimates": [_triple(one.estimates[name]) for one in found.ranked],
            }
            for name in sorted(STATISTICS, key=lambda name: name != MAIN)
        ],
        "curves": [
            {"at": curve.steps, **_band(curve.band, 2)} if (curve := over_steps.get(row)) else None for row in rows
        ],
        "thresholds": digits.places(found.thresholds),
        "profiles": [_band(bands[row]) for row in rows],
        "improvements": [[None if x == y else _triple(found.improvements[x, y], 3) for y in rows] for x in rows],
    }


def _main(one: Aggregate) -> str:
    return with_interval(one.estimates[MAIN], TENTHS)


def _complement(about: Estimate) -> Estimate:
    if about.low is None or about.high is None:
        return Estimate(1 - about.value)
    return Estimate(1 - about.value, 1 - about.high, 1 - about.low)


def _triple(about: Estimate, decimals: int = 2) -> list[float | None]:
    return [None if value is None else round(float(value), decimals) for value in about]


def _band(band: Band, decimals: int = 3) -> dict[str, list[float | None] | None]:
    parts = {"value": band.value, "low": band.low, "high": band.high}
    return {name: None if part is None else digits.places(part, decimals) for name, part in parts.items()}
