"""The table of scores as the page shows it: a line per system, a cell per task, sorted and filtered by the script."""

from collections.abc import Sequence
from dataclasses import dataclass

from offline_mbrl.results.aggregates import best
from offline_mbrl.results.groups import Group, Row
from offline_mbrl.results.intervals import t_interval
from offline_mbrl.results.numbers import Style, with_interval
from offline_mbrl.results.report import digits
from offline_mbrl.results.report.overall import MAIN, Overall
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
    trouble: bool = False
    """Whether seeds are missing or were lost."""


@dataclass(frozen=True)
class Line:
    """One system."""

    name: str
    cells: Sequence[Cell]
    aggregate: Cell


def lines(sheet: Sheet, found: Overall | None) -> list[Line]:
    """A line for each row of the sheet, with its interquartile mean where it has one."""
    outstanding = best(sheet.groups)
    return [
        Line(
            sheet.row_names[row],
            [_cell(sheet.cells.get((row, one)), (row, one) in outstanding) for one in sheet.columns],
            _aggregate(row, found),
        )
        for row in sheet.rows
    ]


def data_cells(sheet: Sheet) -> list[Cell]:
    """The average score of each data set's episodes."""
    return [Cell(digits.score(dataset.score_mean), value=dataset.score_mean) for dataset in sheet.columns.values()]


def _cell(group: Group | None, outstanding: bool) -> Cell:
    if group is None:
        return Cell("", title="not run")
    if not group.counted:
        return Cell(digits.MISSING, title=group.seeds_note, trouble=True)
    mean, std = mean_and_std(group.final_scores)
    interval = with_interval(t_interval(group.final_scores), Style(1))
    spread = digits.score(std) if len(group.counted) > 1 else ""
    title = f"mean and 95 % interval {interval}; {group.seeds_note}"
    return Cell(digits.score(mean), spread, mean, title, outstanding, bool(group.trouble))


def _aggregate(row: Row, found: Overall | None) -> Cell:
    own = next((one for one in found.ranked if one.row == row), None) if found else None
    if found is None or own is None:
        return Cell(digits.MISSING, title="scores on some task are missing")
    value = own.estimates[MAIN]
    first = len(found.ranked) > 1 and own is found.ranked[0]
    title = f"{MAIN} {with_interval(value, Style(1))}; mean rank {own.rank:.1f}"
    return Cell(digits.score(value.value), value=value.value, title=title, best=first)
