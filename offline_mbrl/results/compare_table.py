"""Comparisons as text: a table for each row against the baseline, and below it what follows in words."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from offline_mbrl.errors import unknown_name
from offline_mbrl.results.captions import describe_lost, describe_provenance
from offline_mbrl.results.compare import POINTS, Comparison, TaskComparison, compare_groups, excludes
from offline_mbrl.results.groups import row_label
from offline_mbrl.results.layout import WRITERS, Table, emphasized
from offline_mbrl.results.numbers import Style, plain, signed, with_interval
from offline_mbrl.results.tables import FORMATS, Format, Options, read_groups

METHOD = (
    "Differences are in points of normalized score with 95 % t-intervals: paired where both have the same seeds and "
    "protocol, and so met the same starts (p), else by Welch. P(improvement) is the probability that a seed of the row "
    "beats one of the baseline, over tasks with a 95 % bootstrap interval. Bold: the interval excludes 0."
)
FIELDS = (
    *("algorithm", "baseline", "task", "paired", "seeds", "baseline_seeds", "difference", "difference_low"),
    *("difference_high", "improvement", "improvement_low", "improvement_high", "seeds_needed"),
)
ALL_TASKS = "(all tasks)"
CHANCE = Style(2)


def compare(run_dirs: Sequence[Path], baseline: str, form: Format = "md", options: Options | None = None) -> str:
    """Every row of the jobs below `run_dirs` against `baseline`, per task and over tasks.

    Raises:
        UserError: the form is unknown, there is nothing to read, or nothing to compare.
    """
    if form not in FORMATS:
        raise unknown_name("table format", form, FORMATS)
    asked = options or Options()
    groups = read_groups(run_dirs, asked)
    found = compare_groups(groups, baseline)
    if form == "csv":
        return _as_csv(found)
    blocks = [lay_out(one, Style(asked.digits)) for one in found]
    notes = " ".join([METHOD, *describe_lost(groups), *describe_provenance(groups)])
    last = blocks[-1]
    return "\n".join(map(WRITERS[form], [*blocks[:-1], Table(last.head, last.lines, f"{last.caption} {notes}")]))


def lay_out(found: Comparison, style: Style) -> Table:
    """A line per task and one over tasks; the caption is the sentences."""
    title = f"{row_label(found.row)} − {row_label(found.baseline)}"
    lines = [_task_line(task, style) for task in found.tasks]
    if len(found.tasks) > 1:
        lines.append(_line("over tasks", found, "", style, with_interval(found.improvement, CHANCE)))
    head = [title, "difference", "P(improvement)", "seeds", f"seeds for {POINTS:.0f} points"]
    return Table(head, lines, " ".join(found.sentences))


def _task_line(task: TaskComparison, style: Style) -> list[str]:
    ours, theirs = task.seeds
    seeds = f"{ours} p" if task.paired else f"{ours}, {theirs}"
    return _line(task.label, task, seeds, style, plain(task.improvement, CHANCE))


def _line(label: str, found: Comparison | TaskComparison, seeds: str, style: Style, chance: str) -> list[str]:
    difference = signed(found.difference, style)
    needed = "" if found.seeds_needed is None else str(found.seeds_needed)
    return [label, emphasized(difference) if excludes(found.difference, 0.0) else difference, chance, seeds, needed]


def _as_csv(found: Sequence[Comparison]) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(FIELDS)
    for one in found:
        writer.writerows(_records(one))
    return output.getvalue()


def _records(found: Comparison) -> Iterator[tuple[object, ...]]:
    names = (row_label(found.row), row_label(found.baseline))
    for task in found.tasks:
        about = (task.label, task.paired, *task.seeds, *task.difference)
        yield (*names, *about, task.improvement, None, None, task.seeds_needed)
    yield (*names, ALL_TASKS, None, None, None, *found.difference, *found.improvement, found.seeds_needed)
