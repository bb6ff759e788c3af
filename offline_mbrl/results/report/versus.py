"""Our scores minus published ones: a row for each of our systems and each source that has it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from offline_mbrl.results.groups import Row
from offline_mbrl.results.report.sheet import Sheet
from offline_mbrl.results.statistics import mean_and_std

Published = Iterable[dict[str, str]]
"""Records of `results.published.read`."""


@dataclass(frozen=True)
class Line:
    """One of our systems against one source."""

    name: str
    source: str
    protocol: str
    cells: list[dict[str, float] | None]
    """Ours, theirs and the difference for each column; None where one of them is missing."""


def differences(sheet: Sheet, published: Published, version: str = "v2") -> list[Line]:
    """Every pair of a system and a source that share a task, on one version of D4RL's data."""
    theirs: dict[tuple[str, str, str], dict[str, float]] = {}
    for record in published:
        if record["version"] == version:
            key = (record["algorithm"], record["source"], record["protocol"])
            theirs.setdefault(key, {})[record["task"]] = float(record["mean"])
    lines = [
        Line(sheet.row_names[row], source, protocol, _cells(sheet, row, scores))
        for row in sheet.rows
        for (algorithm, source, protocol), scores in theirs.items()
        if algorithm == row[0]
    ]
    return [line for line in lines if any(line.cells)]


def chart(sheet: Sheet, lines: Iterable[Line]) -> list[dict[str, Any]]:
    """What the page's script draws, a row of the heat map for each line."""
    return [{"name": f"{line.name} − {short(line.source)}", "cells": line.cells} for line in lines]


def short(source: str) -> str:
    """The name of a source without the details in brackets and after commas."""
    return source.partition(" (")[0].partition(",")[0]


def _cells(sheet: Sheet, row: Row, scores: dict[str, float]) -> list[dict[str, float] | None]:
    cells: list[dict[str, float] | None] = []
    for column in sheet.columns:
        if column.task not in scores or not sheet.scored(row, column):
            cells.append(None)
            continue
        ours, _ = mean_and_std(sheet.cells[row, column].final_scores)
        theirs = scores[column.task]
        cells.append({"ours": round(ours, 1), "theirs": theirs, "difference": round(ours - theirs, 1)})
    return cells
