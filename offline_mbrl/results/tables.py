"""Tables of normalized scores in Markdown, LaTeX, HTML and CSV, straight from the folders of the jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from offline_mbrl.errors import unknown_name
from offline_mbrl.results.aggregates import aggregate, best, shared_columns
from offline_mbrl.results.captions import describe_cells
from offline_mbrl.results.csv_table import as_csv
from offline_mbrl.results.groups import Group, column_labels, group_curves, only, row_label, unique_columns
from offline_mbrl.results.layout import WRITERS, Table, emphasized
from offline_mbrl.results.numbers import Style, plain, with_interval
from offline_mbrl.results.published import published_blocks
from offline_mbrl.results.query import read_curves
from offline_mbrl.results.sorting import sort_rows
from offline_mbrl.results.statistics import FEWEST_FREEDOM, FEWEST_SEEDS, STATISTICS, TARGET, Rule, mean_and_std

Format = Literal["md", "csv", "latex", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)

Diverged = Literal["count", "survivors"]

DATA = "data"


@dataclass(frozen=True)
class Options:
    """Which groups a table has, in which order, and how its numbers read.

    `pool` makes one row of seeds of other devices and versions; `diverged` says whether lost seeds count or the
    survivors alone; `sort` and `only` are as in `sort_rows` and `only`; `digits` stand behind the point; `rule` makes a
    seed's evaluations its score.
    """

    pool: bool = False
    diverged: Diverged = "count"
    sort: str = "name"
    only: tuple[str, ...] = ()
    digits: int = 1
    rule: Rule = "last-ten"


def table(
    run_dirs: Sequence[Path], form: Format = "md", published: Path | None = None, options: Options | None = None
) -> str:
    """Normalized scores of all jobs below `run_dirs`: a row per algorithm, a column per task, source, physics and data.

    A cell is mean ± sample standard deviation over seeds, a seed's score being the mean of its last ten evaluations.
    Below follow the aggregates over tasks with their intervals. "csv" is one line per cell and one per row's
    aggregates, in full precision. `published` is a CSV of other people's scores on the same tasks, which follow as
    blocks of their own that name their data; in "csv" they stand beside ours.

    Raises:
        UserError: the form is unknown, or there is nothing to tabulate.
    """
    if form not in FORMATS:
        raise unknown_name("table format", form, FORMATS)
    asked = options or Options()
    groups = read_groups(run_dirs, asked)
    if form == "csv":
        return as_csv(groups, published)
    style = Style(asked.digits)
    blocks = [lay_out(groups, style), *lay_out_aggregates(groups, style)]
    if published is not None:
        blocks += published_blocks(published, groups, style)
    return "\n".join(map(WRITERS[form], blocks))


def read_groups(run_dirs: Sequence[Path], options: Options) -> list[Group]:
    """The groups of all jobs below `run_dirs`, chosen and sorted as `options` say.

    Raises:
        UserError: there is nothing to read, or a name in the options fits nothing.
    """
    survivors = options.diverged == "survivors"
    groups = group_curves(read_curves(run_dirs), pool=options.pool, survivors=survivors, rule=options.rule)
    return sort_rows(only(groups, options.only), options.sort)


def lay_out(groups: Sequence[Group], style: Style) -> Table:
    """The cells of a table and its caption, in plain text."""
    columns = unique_columns(groups)
    labels = column_labels(columns)
    cells = {(group.row, group.column): group for group in groups}
    outstanding = best(groups)
    data_line = [DATA] + [_number(dataset.score_mean, style) for dataset in columns.values()]
    lines = [
        [row_label(row)] + [_cell(cells.get((row, one)), (row, one) in outstanding, style) for one in columns]
        for row in dict.fromkeys(group.row for group in groups)
    ]
    caption = describe_cells(groups, columns, labels)
    if len(columns) > 1 and len(shared_columns(groups)) < 2:
        caption += " No aggregates: fewer than two tasks have seeds of every row; choose rows or tasks with --only."
    if outstanding:
        caption += " Bold: the highest mean of a column and those that Welch's 95 % interval does not tell from it."
    return Table(["algorithm", *labels.values()], [data_line, *lines], caption)


def lay_out_aggregates(groups: Sequence[Group], style: Style) -> list[Table]:
    """The block of aggregates, or none where fewer than two tasks have seeds of every row."""
    if len(shared_columns(groups)) < 2:
        return []
    names = list(STATISTICS)
    lines = [
        [row_label(one.row), *(with_interval(one.estimates[name], style) for name in names), plain(one.rank, style)]
        for one in aggregate(groups)
    ]
    return [Table(["over tasks", *names, "mean rank"], lines, _describe_aggregates(groups))]


def _describe_aggregates(groups: Sequence[Group]) -> str:
    shared, labels = shared_columns(groups), column_labels(unique_columns(groups))
    left_out = [label for column, label in labels.items() if column not in shared]
    missing = f" (without {', '.join(left_out)}, where some row has none)" if left_out else ""
    return (
        f"Over the {len(shared)} columns{missing} that all rows have. Mean and median are of the columns' means, IQM "
        "is the mean of the middle half of all seeds' scores, the optimality gap how far scores stay below "
        f"{TARGET:.0f} (lower is better), the rank by mean (1 is best). In brackets: 95 % interval by a bootstrap over "
        f"seeds, stratified by column; it needs {FEWEST_SEEDS} seeds everywhere and {FEWEST_FREEDOM} degrees of "
        "freedom in all."
    )


def _cell(group: Group | None, outstanding: bool, style: Style) -> str:
    if group is None:
        return ""
    note = f" ({group.trouble})" if group.trouble else ""
    if not group.counted:
        return f"–{note}"
    mean, std = mean_and_std(group.final_scores)
    text = plain(mean, style) + (f" ± {plain(std, style)}" if len(group.counted) > 1 else "")
    return (emphasized(text) if outstanding else text) + note


def _number(value: float | None, style: Style) -> str:
    return "" if value is None else plain(value, style)
