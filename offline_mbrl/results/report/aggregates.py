"""What holds over all tasks: aggregates, performance profiles, probabilities of improvement, and the conclusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from offline_mbrl.results.groups import Row
from offline_mbrl.results.query import Column
from offline_mbrl.results.report import digits
from offline_mbrl.results.report.sheet import Sheet
from offline_mbrl.results.statistics import (
    STATISTICS,
    Band,
    Estimate,
    Floats,
    estimate,
    estimate_improvement,
    performance_profile,
)

LOWER_IS_BETTER = "optimality gap"
MAIN = "IQM"
PROFILE_POINTS = 51


@dataclass(frozen=True)
class Aggregates:
    """Statistics of the rows that have a score on each of `columns`; the others are `left_out`."""

    sheet: Sheet
    rows: Sequence[Row]
    columns: Sequence[Column]

    @property
    def left_out(self) -> list[Row]:
        return [row for row in self.sheet.rows if row not in self.rows]

    def scores(self, row: Row) -> list[Floats]:
        """[n_seeds] for each column."""
        return [self.sheet.cells[row, column].final_scores for column in self.columns]

    @cached_property
    def statistics(self) -> dict[str, dict[Row, Estimate]]:
        """Every aggregate of every row, by the aggregate's name."""
        return {
            name: {row: estimate(self.scores(row), statistic) for row in self.rows}
            for name, statistic in STATISTICS.items()
        }

    @cached_property
    def ranked(self) -> list[Row]:
        """The rows from the best interquartile mean to the worst."""
        return sorted(self.rows, key=lambda row: -self.statistics[MAIN][row].value)

    @cached_property
    def thresholds(self) -> Floats:
        """[n] scores at which profiles are drawn."""
        pooled = np.concatenate([scores for row in self.rows for scores in self.scores(row)])
        return np.linspace(min(0.0, float(pooled.min())), max(1.0, float(pooled.max())), PROFILE_POINTS)

    @cached_property
    def profiles(self) -> dict[Row, Band]:
        """The share of a row's scores above each threshold."""
        return {row: performance_profile(self.scores(row), self.thresholds) for row in self.rows}

    @cached_property
    def improvements(self) -> dict[tuple[Row, Row], Estimate]:
        """The probability that a seed of the first row beats one of the second, for each pair."""
        pairs = [(x, y) for place, x in enumerate(self.ranked) for y in self.ranked[place + 1 :]]
        upper = {(x, y): estimate_improvement(self.scores(x), self.scores(y)) for x, y in pairs}
        return upper | {(y, x): _complement(found) for (x, y), found in upper.items()}


def aggregate(sheet: Sheet) -> Aggregates | None:
    """Over all columns where at least two rows (or the only one) have a score on each, else over shared columns.

    None where there is nothing that can be compared.
    """
    columns = list(sheet.columns)
    complete = [row for row in sheet.rows if all(sheet.scored(row, column) for column in columns)]
    if len(complete) >= min(2, len(sheet.rows)):
        return Aggregates(sheet, complete, columns)
    scored = [row for row in sheet.rows if any(sheet.scored(row, column) for column in columns)]
    shared = [column for column in columns if all(sheet.scored(row, column) for row in scored)]
    return Aggregates(sheet, scored, shared) if scored and shared else None


def conclusion(found: Aggregates | None) -> list[str]:
    """What the numbers say, in sentences."""
    if found is None:
        return ["No task has scores of all systems yet, so nothing is said over tasks; see the table of scores."]
    first, *others = found.ranked
    names, best = found.sheet.row_names, found.statistics[MAIN][first]
    tasks = digits.plural(len(found.columns), "task")
    if not others:
        return [f"{names[first]} has an interquartile mean of {digits.estimate(best)} over {tasks}."]
    second = others[0]
    runner_up = digits.estimate(found.statistics[MAIN][second])
    return [
        f"{names[first]} has the highest interquartile mean over {tasks}, {digits.estimate(best)}; "
        f"{names[second]} follows with {runner_up}.",
        _telling(names[first], names[second], found.improvements[first, second]),
        *_set_aside(found),
    ]


def chart(found: Aggregates | None) -> dict[str, Any] | None:
    """What the page's script draws; rows are places in the sheet's list of rows, the best first."""
    if found is None:
        return None
    place = {row: number for number, row in enumerate(found.sheet.rows)}
    return {
        "rows": [place[row] for row in found.ranked],
        "statistics": [
            {"name": name, "lower": name == LOWER_IS_BETTER, "estimates": [_triple(by_row[row]) for row in found.ranked]}
            for name, by_row in _main_first(found.statistics)
        ],
        "thresholds": digits.places(found.thresholds),
        "profiles": [_band(found.profiles[row]) for row in found.ranked],
        "improvements": [
            [None if x == y else _triple(found.improvements[x, y], 3) for y in found.ranked] for x in found.ranked
        ],
    }


def _main_first(statistics: Mapping[str, dict[Row, Estimate]]) -> list[tuple[str, dict[Row, Estimate]]]:
    return sorted(statistics.items(), key=lambda entry: entry[0] != MAIN)


def _telling(first: str, second: str, probability: Estimate) -> str:
    claim = f"A seed of {first} beats one of {second} with probability {digits.estimate(probability, 2)}"
    if probability.low is None:
        return f"{claim}; with so few seeds no interval would be honest, so this order may be chance."
    if probability.low <= 0.5:
        return f"{claim}: the interval includes one half, so these seeds cannot tell the two apart."
    return f"{claim}: the interval excludes one half."


def _set_aside(found: Aggregates) -> list[str]:
    """Who is not in the aggregates."""
    sentences = []
    if found.left_out:
        names = ", ".join(found.sheet.row_names[row] for row in found.left_out)
        sentences.append(f"Not compared, as scores on some task are missing: {names}.")
    if len(found.columns) < len(found.sheet.columns):
        sentences.append(f"Compared on {len(found.columns)} of {len(found.sheet.columns)} tasks, which all have.")
    return sentences


def _complement(about: Estimate) -> Estimate:
    if about.low is None or about.high is None:
        return Estimate(1 - about.value)
    return Estimate(1 - about.value, 1 - about.high, 1 - about.low)


def _triple(about: Estimate, decimals: int = 2) -> list[float | None]:
    return [None if value is None else round(float(value), decimals) for value in about]


def _band(band: Band) -> dict[str, list[float | None] | None]:
    return {
        "value": digits.places(band.value, 3),
        "low": None if band.low is None else digits.places(band.low, 3),
        "high": None if band.high is None else digits.places(band.high, 3),
    }
