"""Which seeds are pooled, and what rows, columns and panels are called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.results.query import Column, Curve, DataSummary
from offline_mbrl.results.statistics import final_score
from offline_mbrl.tasks import TASKS

Row = tuple[str, tuple[tuple[str, object], ...]]
"""An algorithm, and the settings (name, value) that tell its rows apart: none where all its jobs agree."""


@dataclass(frozen=True)
class Group:
    """The seeds behind one cell of a table or one line of a figure; they differ in nothing else."""

    row: Row
    column: Column
    curves: Sequence[Curve]

    @cached_property
    def counted(self) -> list[Curve]:
        """The seeds that enter the statistics: those that were trained to the end."""
        return [curve for curve in self.curves if curve.status == "finished" and curve.scores]

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings that all seeds share."""
        return self.curves[0].settings

    @property
    def final_scores(self) -> NDArray[np.float64]:
        """[n_counted] reported score of each seed that was trained to the end."""
        return np.array([final_score(curve.scores) for curve in self.counted])

    def count(self, status: str) -> int:
        """How many seeds ended with `status`."""
        return sum(curve.status == status for curve in self.curves)

    @property
    def shortfall(self) -> str:
        """Which seeds are missing from the statistics and why, such as "3 of 4 seeds; 1 diverged"; empty if none is."""
        reasons = [f"{self.count(status)} {status}" for status in ("diverged", "failed", "unfinished")]
        missing = "; ".join(reason for reason in reasons if not reason.startswith("0 "))
        return f"{len(self.counted)} of {len(self.curves)} seeds; {missing}" if missing else ""


def group_curves(curves: Sequence[Curve]) -> list[Group]:
    """Pool the seeds that differ in nothing else; jobs of one algorithm with other settings get rows of their own."""
    telling = {algorithm: _telling_settings(curves, algorithm) for algorithm in {curve.algorithm for curve in curves}}
    pools: dict[tuple[Row, Column], list[Curve]] = {}
    for curve in curves:
        names = telling[curve.algorithm]
        row = (curve.algorithm, tuple((name, _hashable(curve.settings.get(name))) for name in names))
        pools.setdefault((row, curve.column), []).append(curve)
    return [Group(row, column, pool) for (row, column), pool in sorted(pools.items(), key=_order)]


def row_label(row: Row) -> str:
    """The algorithm's name, and in brackets what sets this row apart: "mopo (penalty=individual)"."""
    algorithm, settings = row
    details = ", ".join(f"{name}={value}" for name, value in settings)
    return f"{algorithm} ({details})" if details else algorithm


def column_labels(columns: Iterable[Column]) -> dict[Column, str]:
    """The task of each column, and in brackets whatever of source, physics and fingerprint differs between columns."""
    all_columns = list(columns)
    differing = [field for field in ("source", "physics") if len({getattr(one, field) for one in all_columns}) > 1]
    return {column: _column_label(column, all_columns, differing) for column in all_columns}


def unique_columns(groups: Iterable[Group]) -> dict[Column, DataSummary]:
    """The columns that occur, in the order of the benchmark's tasks, and the data set of each."""
    return {group.column: group.curves[0].dataset for group in sorted(groups, key=lambda one: column_order(one.column))}


def column_order(column: Column) -> tuple[int, str, str, str, str]:
    """A sort key: the benchmark's order of tasks, then the rest by name."""
    known = list(TASKS)
    place = known.index(column.task) if column.task in TASKS else len(known)
    return (place, column.task, column.source, column.physics, column.fingerprint)


def short_fingerprint(fingerprint: str) -> str:
    """The first eight digits of a content fingerprint, without the name of its hash."""
    return fingerprint.rpartition(":")[2][:8]


def _telling_settings(curves: Iterable[Curve], algorithm: str) -> list[str]:
    """Names of the settings with more than one value within some column; what varies by task alone does not tell."""
    seen: dict[tuple[Column, str], set[object]] = {}
    own = [curve for curve in curves if curve.algorithm == algorithm]
    names = list(dict.fromkeys(name for curve in own for name in curve.settings))
    for curve in own:
        for name in names:
            seen.setdefault((curve.column, name), set()).add(_hashable(curve.settings.get(name)))
    return [name for name in names if any(len(seen[column, name]) > 1 for column in {curve.column for curve in own})]


def _hashable(value: object) -> object:
    return str(value) if isinstance(value, list | dict) else value


def _column_label(column: Column, columns: Sequence[Column], differing: Sequence[str]) -> str:
    details = [str(getattr(column, field)) for field in differing]
    twins = [one for one in columns if replace(one, fingerprint=column.fingerprint) == column]
    if len(twins) > 1:
        details.append(short_fingerprint(column.fingerprint))
    return f"{column.task} ({', '.join(details)})" if details else column.task


def _order(pool: tuple[tuple[Row, Column], list[Curve]]) -> tuple[str, str, tuple[int, str, str, str, str]]:
    (row, column), _ = pool
    return (row[0], row_label(row), column_order(column))
