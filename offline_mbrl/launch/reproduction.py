"""Verdicts over records: each job's score beside the numbers of the table that its suite repeats.

`python -m offline_mbrl.launch.reproduction RECORDS DOCS` writes them into the documentation's page of reproduction, and
the table of the anchors into theirs, between marks.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from offline_mbrl.errors import UserError
from offline_mbrl.launch.shipped import find_suite, names
from offline_mbrl.launch.suite import read_suite
from offline_mbrl.results.groups import Group, group_curves
from offline_mbrl.results.layout import WRITERS
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.published import BUILTIN, SHIPPED, Record, read
from offline_mbrl.results.query import Curve, read_curves
from offline_mbrl.results.statistics import Rule
from offline_mbrl.results.tables import table
from offline_mbrl.results.verdicts import Verdict, lay_out_verdicts, verdicts
from offline_mbrl.storage.files import write_text
from offline_mbrl.storage.records import find_jobs

PAGE, ANCHORS = "reproduction.md", "anchors"
"""The page of verdicts; and the suite of small runs that has a page of its own, since nothing published fits it."""

BEGIN, END = "<!-- from the records: begin -->", "<!-- from the records: end -->"


def verdict_table(
    runs: Sequence[Path], published: str | None, form: str = "md", digits: int = 1, rule: Rule = "last-ten"
) -> str:
    """The verdicts of all jobs below `runs`, beside the numbers that `published` names or those of each job's suite."""
    found = judged(read_curves(runs), published, rule)
    return WRITERS[form](lay_out_verdicts(found, Style(digits), rule))


def judged(curves: Sequence[Curve], published: str | None = None, rule: Rule = "last-ten") -> list[Verdict]:
    """A verdict for every cell of every suite among the curves."""
    by_suite = groupby(sorted(curves, key=_suite), _suite)
    return [
        one
        for suite, members in by_suite
        for one in verdicts(cells(list(members), rule), numbers(published or (suite if suite in names() else BUILTIN)))
    ]


def cells(curves: Sequence[Curve], rule: Rule) -> list[Group]:
    """The seeds of one row, task and scale together, in the order of tables."""
    by_row = groupby(sorted(curves, key=_row), _row)
    return [group for _, members in by_row for group in group_curves(list(members), pool=True, rule=rule)]


def numbers(published: str) -> list[Record]:
    """The published scores that a name stands for: `builtin`, a CSV, or a suite's own."""
    if published == BUILTIN:
        return read(SHIPPED)
    path = Path(published)
    if path.suffix == ".csv":
        return read(path)
    own = read_suite(find_suite(published).path).published
    return read(own or SHIPPED)


def write_pages(records: Path, docs: Path) -> None:
    """Writes what the records say into the pages that show them."""
    write_between(docs / PAGE, report(records))
    write_between(docs / f"{ANCHORS}.md", scores(records / ANCHORS))


def scores(folder: Path) -> str:
    """The table of the runs in `folder` with the published ones below it, in Markdown."""
    return table([folder], published=SHIPPED)


def write_between(page: Path, text: str) -> None:
    """Replaces what stands between the marks of `page`.

    Raises:
      UserError: the page has not both marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{page} has not the marks {BEGIN} and {END}; put them where the records belong")
    write_text(page, f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def report(records: Path) -> str:
    """A summary, then for every suite that was run, but the anchors, its scores and its verdicts, in Markdown."""
    folders = sorted({folder.parent for folder in find_jobs([records])} - {(records / ANCHORS).resolve()})
    found = [one for folder in folders for one in judged(read_curves([folder]))]
    return "\n".join([summary(found), *(_section(folder, folder.relative_to(records.resolve())) for folder in folders)])


def summary(found: Sequence[Verdict]) -> str:
    """How many cells got which verdict."""
    words = Counter(one.word.partition(":")[0] for one in found)
    counts = "; ".join(f"{word}: {count}" for word, count in words.most_common())
    return f"Comparisons below: {len(found)}. By verdict: {counts}.\n"


def _section(folder: Path, name: Path) -> str:
    """What the runs are, in the caption of their table, then the verdicts, which have the scores too."""
    _, caption, *_ = table([folder]).split("\n\n")
    return f"### {name.as_posix()}\n\n{caption.strip()}\n\n{verdict_table([folder], None)}"


def _suite(curve: Curve) -> str:
    return str(curve.row.get("suite") or "")


def _row(curve: Curve) -> tuple[str, str]:
    return str(curve.row.get("variant") or curve.algorithm), str(curve.row.get("scale") or "")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]), Path(sys.argv[2]))
