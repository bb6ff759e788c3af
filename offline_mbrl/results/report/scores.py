"""The table of scores as the page shows it: a line per system, a cell per task, sorted and filtered by the script."""

from collections.abc import Sequence
from dataclasses import dataclass

from offline_mbrl.results.groups import Group, Row
from offline_mbrl.results.intervals import t_interval
from offline_mbrl.results.query import Column
from offline_mbrl.results.report import digits
from offline_mbrl.results.report.aggregates import MAIN, Aggregates
from offline_mbrl.results.report.sheet import Sheet
from offline_mbrl.results.statistics import mean_and_std


@dataclass(frozen=True)
class Cell:
    """One score: its mean and spread as text, the number it is sorted by, and what a hover tells."""

    mean: str
    spread: str = ""
    value: float | None = None
    title: str = ""
    best: bool = False
    short: bool = False
    """Whether seeds are missing."""


@dataclass(frozen=True)
class Line:
    """One system."""

    name: str
    cells: Sequence[Cell]
    aggregate: Cell


def lines(sheet: Sheet, found: Aggregates | None) -> list[Line]:
    """A line for each row of the sheet, with its interquartile mean where it has one."""
    best = {column: _best(sheet, column) for column in sheet.columns}
    return [
        Line(
            sheet.row_names[row],
            [_cell(sheet.cells.get((row, column)), best[column]) for column in sheet.columns],
            _aggregate(row, found),
        )
        for row in sheet.rows
    ]


def data_cells(sheet: Sheet) -> list[Cell]:
    """The average score of each data set's episodes."""
    return [Cell(digits.score(dataset.score_mean), value=dataset.score_mean) for dataset in sheet.columns.values()]


def _cell(group: Group | None, best: Group | None) -> Cell:
    if group is None:
        return Cell("", title="not run")
    if not len(group.final_scores):
        return Cell(digits.MISSING, title=group.shortfall, short=True)
    mean, std = mean_and_std(group.final_scores)
    interval = t_interval(group.final_scores)
    several = len(group.final_scores) > 1
    title = f"{digits.plural(len(group.final_scores), 'seed')}; mean and 95 % interval {digits.estimate(interval)}"
    return Cell(
        digits.score(mean),
        digits.score(std) if several else "",
        mean,
        f"{title}; {group.shortfall}" if group.shortfall else title,
        group is best,
        bool(group.shortfall),
    )


def _best(sheet: Sheet, column: Column) -> Group | None:
    """The group with the highest mean, where there are others to compare with."""
    groups = [sheet.cells[row, column] for row in sheet.rows if sheet.scored(row, column)]
    return max(groups, key=lambda group: float(group.final_scores.mean())) if len(groups) > 1 else None


def _aggregate(row: Row, found: Aggregates | None) -> Cell:
    if found is None or row not in found.rows:
        return Cell(digits.MISSING, title="scores on some task are missing")
    value = found.statistics[MAIN][row]
    best = len(found.rows) > 1 and row == found.ranked[0]
    return Cell(digits.score(value.value), value=value.value, title=f"{MAIN} {digits.estimate(value)}", best=best)
