"""Which seeds are pooled, and what rows, columns and panels are called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.errors import unknown_name
from offline_mbrl.results.query import Column, Curve, DataSummary, without_repeats
from offline_mbrl.results.statistics import Rule, final_score
from offline_mbrl.tasks import TASKS

Row = tuple[str, tuple[tuple[str, object], ...]]
"""An algorithm, and the settings (name, value) that tell its rows apart: none where all its jobs agree."""

LOST = ("diverged", "failed")
"""How seeds end that nobody will train further."""


@dataclass(frozen=True)
class Group:
    """The seeds behind one cell of a table or one line of a figure; they differ in nothing else, unless pooled.

    A seed that diverged or failed counts with the last score it had, or that of the random policy, 0, where it had
    none, unless only `survivors` are asked for.
    """

    row: Row
    column: Column
    curves: Sequence[Curve]
    survivors: bool = False
    rule: Rule = "last-ten"

    @cached_property
    def counted(self) -> list[Curve]:
        """The seeds that enter the statistics: all but those still to be trained (and the lost ones)."""
        return [curve for curve in self.curves if curve.status == "finished" or self._counts(curve)]

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings that all seeds share."""
        return self.curves[0].settings

    @property
    def final_scores(self) -> NDArray[np.float64]:
        """[n_counted] reported score of each seed of `counted`."""
        return np.array([reported_score(curve, self.rule) for curve in self.counted])

    def count(self, status: str) -> int:
        """How many seeds ended with `status`."""
        return sum(curve.status == status for curve in self.curves)

    @property
    def trouble(self) -> str:
        """What became of the seeds that were not trained to the end: "1 diverged, 2 unfinished"; empty if none is."""
        reasons = {status: self.count(status) for status in ("diverged", "failed", "unfinished")}
        return ", ".join(f"{count} {status}" for status, count in reasons.items() if count)

    @property
    def seeds_note(self) -> str:
        """How many seeds count, and what became of the others: "3 of 4 seeds; 1 diverged", or "4 seeds"."""
        counted, made = len(self.counted), len(self.curves)
        seeds = f"{made} seed{'s' * (made > 1)}" if counted == made else f"{counted} of {made} seeds"
        return f"{seeds}; {self.trouble}" if self.trouble else seeds

    def _counts(self, curve: Curve) -> bool:
        return curve.status in LOST and not self.survivors


def reported_score(curve: Curve, rule: Rule = "last-ten") -> float:
    """What `rule` makes of the evaluations; of a lost seed the last score it had, 0 (the random policy's) if none."""
    if curve.status not in LOST:
        return final_score(curve.scores, rule)
    return curve.scores[-1] if curve.scores else 0.0


def group_curves(
    curves: Sequence[Curve], *, pool: bool = False, survivors: bool = False, rule: Rule = "last-ten"
) -> list[Group]:
    """Pool the seeds that differ in nothing else; jobs of one algorithm with other settings get rows of their own.

    So do those made on another device, with another precision, version or commit, unless `pool` is asked for; then a
    seed that was made twice counts once.
    """
    telling = {algorithm: _telling(curves, algorithm, pool) for algorithm in {curve.algorithm for curve in curves}}
    pools: dict[tuple[Row, Column], list[Curve]] = {}
    for curve in curves:
        row = _row(curve, telling[curve.algorithm])
        pools.setdefault((row, curve.column), []).append(curve)
    return [
        Group(row, column, without_repeats(members, _anything), survivors, rule)
        for (row, column), members in sorted(pools.items(), key=_order)
    ]


def only(groups: Sequence[Group], names: Sequence[str]) -> list[Group]:
    """The groups of the algorithms (or labels of rows) and tasks among `names`, which may be patterns such as hopper-*.

    Names of one kind alone leave the other kind whole; without names all groups are left.

    Raises:
        UserError: a name fits nothing.
    """
    rows = {row for row in {group.row for group in groups} if any(map(partial(_names_row, row), names))}
    tasks = {task for task in {group.column.task for group in groups} if any(fnmatch(task, name) for name in names)}
    for name in names:
        if not any(_names_row(group.row, name) or fnmatch(group.column.task, name) for group in groups):
            known = {group.row[0] for group in groups} | {group.column.task for group in groups}
            raise unknown_name("algorithm or task", name, known)
    return [g for g in groups if (not rows or g.row in rows) and (not tasks or g.column.task in tasks)]


def differences(curves: Iterable[Curve]) -> dict[str, list[str]]:
    """What of device, precision, versions and commit differs between curves, and its values.

    Algorithms count their versions each by itself, so theirs differ only where two curves of one algorithm do.
    """
    by_field: dict[tuple[str, str], set[str]] = {}
    for curve in curves:
        for name, value in made_with(curve).items():
            owner = curve.algorithm if name == "algorithm_version" else ""
            by_field.setdefault((name, owner), set()).add(str(value))
    found: dict[str, set[str]] = {}
    for (name, _), values in by_field.items():
        if len(values) > 1:
            found[name] = found.get(name, set()) | values
    return {name: sorted(values) for name, values in found.items()}


def made_with(curve: Curve) -> dict[str, object]:
    """What seeds may be pooled over on request: provenance and precision."""
    return {"precision": curve.settings.get("precision"), **curve.provenance}


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


def _names_row(row: Row, name: str) -> bool:
    return fnmatch(row[0], name) or row_label(row) == name


def _row(curve: Curve, names: Iterable[str]) -> Row:
    facts = {**curve.settings, **curve.provenance}
    return (curve.algorithm, tuple((name, _hashable(facts.get(name))) for name in names))


def _telling(curves: Iterable[Curve], algorithm: str, pool: bool) -> list[str]:
    """Names of what has more than one value within some column; what varies by task alone does not tell."""
    own = [curve for curve in curves if curve.algorithm == algorithm]
    facts = [(curve.column, {**curve.settings, **curve.provenance}) for curve in own]
    names = dict.fromkeys(
        name for known in (*(c.settings for c in own), *(c.provenance for c in own)) for name in known
    )
    names = {name: None for name in names if not (pool and name in made_with(own[0]))}
    seen: dict[tuple[Column, str], set[object]] = {}
    for column, known in facts:
        for name in names:
            seen.setdefault((column, name), set()).add(_hashable(known.get(name)))
    return [name for name in names if any(len(seen[column, name]) > 1 for column, _ in facts)]


def _anything(_: Curve) -> object:
    return None


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
