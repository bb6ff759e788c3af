"""Our scores minus published ones: a row for each of our systems and each source that has it."""

from collections.abc import Sequence
from typing import Any

from offline_mbrl.results.groups import Row
from offline_mbrl.results.published import Record, published_means, select
from offline_mbrl.results.report.sheet import Sheet

VERSION = "v2"
"""Of D4RL's data."""


def fitting(sheet: Sheet, records: Sequence[Record]) -> list[Record]:
    """The records of the sheet's algorithms and tasks."""
    return select(records, {row[0] for row in sheet.rows}, {column.task for column in sheet.columns}, VERSION)


def chart(sheet: Sheet, records: Sequence[Record]) -> list[dict[str, Any]]:
    """What the page's script draws: a row of the heat map for each system and source, a cell for each column."""
    lines = [
        {"name": f"{sheet.row_names[row]} − {_source(label)}", "cells": _cells(sheet, row, means)}
        for row in sheet.rows
        for (algorithm, label), means in published_means(records).items()
        if algorithm == row[0]
    ]
    return [line for line in lines if any(line["cells"])]


def _cells(sheet: Sheet, row: Row, means: dict[str, float]) -> list[dict[str, float] | None]:
    """Ours, theirs and the difference for each column; None where one of them is missing."""
    cells: list[dict[str, float] | None] = []
    for column in sheet.columns:
        if column.task not in means or not sheet.scored(row, column):
            cells.append(None)
            continue
        ours, theirs = float(sheet.cells[row, column].final_scores.mean()), means[column.task]
        cells.append({"ours": round(ours, 1), "theirs": theirs, "difference": round(ours - theirs, 1)})
    return cells


def _source(label: str) -> str:
    """Whose number it is: what stands in the brackets of `mopo (OfflineRL-Kit README)`."""
    return label.partition("(")[2].removesuffix(")")
