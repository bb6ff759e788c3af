"""Verdicts over records: each job's score beside the numbers of the table that its suite repeats."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from offline_mbrl.launch.shipped import find_suite, names
from offline_mbrl.launch.suite import read_suite
from offline_mbrl.results.groups import Group, group_curves
from offline_mbrl.results.layout import WRITERS
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.published import BUILTIN, SHIPPED, Record, read
from offline_mbrl.results.query import Curve, read_curves
from offline_mbrl.results.verdicts import Verdict, lay_out_verdicts, verdicts


def verdict_table(runs: Sequence[Path], published: str | None, form: str, digits: int) -> str:
    """The verdicts of all jobs below `runs`, beside the numbers that `published` names or those of each job's suite."""
    found = judged(read_curves(runs), published)
    return WRITERS[form](lay_out_verdicts(found, Style(digits)))


def judged(curves: Sequence[Curve], published: str | None = None) -> list[Verdict]:
    """A verdict for every cell of every suite among the curves."""
    by_suite = groupby(sorted(curves, key=_suite), _suite)
    return [
        one
        for suite, members in by_suite
        for one in verdicts(cells(list(members)), numbers(published or (suite if suite in names() else BUILTIN)))
    ]


def cells(curves: Sequence[Curve]) -> list[Group]:
    """The seeds of one row, task and scale together, in the order of tables."""
    by_row = groupby(sorted(curves, key=_row), _row)
    return [group for _, members in by_row for group in group_curves(list(members), pool=True)]


def numbers(published: str) -> list[Record]:
    """The published scores that a name stands for: `builtin`, a CSV, or a suite's own."""
    if published == BUILTIN:
        return read(SHIPPED)
    path = Path(published)
    if path.suffix == ".csv":
        return read(path)
    own = read_suite(find_suite(published).path).published
    return read(own or SHIPPED)


def _suite(curve: Curve) -> str:
    return str(curve.row.get("suite") or "")


def _row(curve: Curve) -> tuple[str, str]:
    return str(curve.row.get("variant") or curve.algorithm), str(curve.row.get("scale") or "")
