"""Tables of normalized scores in Markdown, CSV and LaTeX, straight from the folders of the jobs."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from offline_mbrl.errors import unknown_name
from offline_mbrl.results.groups import Group, column_labels, group_curves, row_label, short_fingerprint, unique_columns
from offline_mbrl.results.layout import Table, as_latex, as_markdown
from offline_mbrl.results.published import lay_out_published
from offline_mbrl.results.query import Column, DataSummary, read_curves
from offline_mbrl.results.statistics import (
    LAST_EVALUATIONS,
    bootstrap_interval,
    interquartile_mean,
    mean_and_std,
)

Format = Literal["md", "csv", "latex"]
FORMATS: tuple[Format, ...] = get_args(Format)

DATA = "data"
MARKS = "†‡§¶"
CSV_FIELDS = (
    *("algorithm", "variant", "task", "source", "physics", "fingerprint", "dataset", "rows"),
    *("steps", "evaluations", "episodes", "seeds", "diverged", "failed", "unfinished"),
    *("mean", "std", "ci_low", "ci_high", "iqm"),
)


def table(run_dirs: Sequence[Path], form: Format = "md", published: Path | None = None) -> str:
    """Normalized scores of all jobs below `run_dirs`: a row per algorithm, a column per task, source, physics and data.

    A cell is mean ± sample standard deviation over the seeds that were trained to the end, a seed's score being the
    mean of its last ten evaluations. Missing seeds are marked and explained in the caption. "csv" is one line per cell,
    in full precision, with 95 % bootstrap intervals over seeds. `published` is a CSV of other people's scores on the
    same tasks, which follow as a block of their own that names its data; "csv" leaves them out.

    Raises:
        UserError: the form is unknown, or there is nothing to tabulate.
    """
    if form not in FORMATS:
        raise unknown_name("table format", form, FORMATS)
    groups = group_curves(read_curves(run_dirs))
    if form == "csv":
        return _as_csv(groups)
    blocks = [lay_out(groups)]
    if published is not None:
        blocks.append(lay_out_published(published, [column.task for column in unique_columns(groups)]))
    return "\n".join(as_markdown(block) if form == "md" else as_latex(block) for block in blocks)


def lay_out(groups: Sequence[Group]) -> Table:
    """The cells of a table and its caption, in plain text."""
    columns = unique_columns(groups)
    labels = column_labels(columns)
    cells = {(group.row, group.column): group for group in groups}
    marks = _marks(groups)
    rows = dict.fromkeys(group.row for group in groups)
    data_line = [DATA] + [_number(dataset.score_mean) for dataset in columns.values()]
    lines = [[row_label(row)] + [_cell(cells.get((row, column)), marks) for column in columns] for row in rows]
    head = ["algorithm", *labels.values()]
    return Table(head, [data_line, *lines], _caption(groups, columns, labels, marks))


def _cell(group: Group | None, marks: Mapping[str, str]) -> str:
    if group is None:
        return ""
    mark = f" {marks[group.shortfall]}" if group.shortfall else ""
    if not group.counted:
        return f"–{mark}"
    mean, std = mean_and_std(group.final_scores)
    return (f"{mean:.1f} ± {std:.1f}" if len(group.counted) > 1 else f"{mean:.1f}") + mark


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _marks(groups: Iterable[Group]) -> dict[str, str]:
    """A sign for each different shortfall of seeds, doubled when the signs run out."""
    shortfalls = dict.fromkeys(group.shortfall for group in groups if group.shortfall)
    return {text: MARKS[place % len(MARKS)] * (1 + place // len(MARKS)) for place, text in enumerate(shortfalls)}


def _caption(
    groups: Sequence[Group],
    columns: Mapping[Column, DataSummary],
    labels: Mapping[Column, str],
    marks: Mapping[str, str],
) -> str:
    sentences = [
        "Normalized score, mean ± sample standard deviation over seeds.",
        *(_describe_column(labels[column], column, dataset) for column, dataset in columns.items()),
        f"Trained for {_describe_steps(groups)} gradient steps with "
        f"{_values(len(group.curves) for group in groups)} seeds.",
        f"A seed's score is the mean over its {_describe_evaluations(groups)} × "
        f"{_values(group.settings['episodes'] for group in groups)} episodes of the deterministic policy.",
        f"Row '{DATA}': average score of the data set's episodes.",
        *(f"{mark} {text}." for text, mark in marks.items()),
    ]
    return " ".join(sentences)


def _describe_column(label: str, column: Column, dataset: DataSummary) -> str:
    rows = "" if dataset.rows is None else f"{dataset.rows:,} transitions, "
    data = f"{dataset.name} ({rows}fingerprint {short_fingerprint(column.fingerprint)})"
    return f"{label}: {column.source} data {data}, {column.physics} physics."


def _describe_steps(groups: Iterable[Group]) -> str:
    """As `4,000`, or `2,000 (bc, iql) or 4,000 (mopo)` where algorithms differ."""
    takers: dict[int, dict[str, None]] = {}
    for group in groups:
        takers.setdefault(int(str(group.settings["steps"])), {})[group.row[0]] = None
    if len({tuple(names) for names in takers.values()}) == 1:
        return _values(takers)
    return " or ".join(f"{steps:,} ({', '.join(names)})" for steps, names in sorted(takers.items()))


def _describe_evaluations(groups: Iterable[Group]) -> str:
    """How many evaluations went into a score, said plainly where there were fewer than the protocol asks for."""
    used = {min(len(curve.scores), LAST_EVALUATIONS) for group in groups for curve in group.counted}
    if used <= {LAST_EVALUATIONS}:
        return f"last {LAST_EVALUATIONS} evaluations"
    return f"last {_values(used)} evaluations (fewer than {LAST_EVALUATIONS} were made)"


def _values(values: Iterable[object]) -> str:
    """Distinct numbers in order: "4" or "2 or 4"."""
    distinct = sorted({int(str(value)) for value in values})
    return " or ".join(f"{value:,}" for value in distinct)


def _as_csv(groups: Sequence[Group]) -> str:
    output = io.StringIO()
    writer = csv.DictWriter(output, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_describe_data(column, dataset) for column, dataset in unique_columns(groups).items())
    writer.writerows(_csv_record(group) for group in groups)
    return output.getvalue()


def _describe_data(column: Column, dataset: DataSummary) -> dict[str, object]:
    """The data set's own line: its std, unlike the others, is over episodes, so it is left out."""
    return {
        "algorithm": DATA,
        "task": column.task,
        "source": column.source,
        "physics": column.physics,
        "fingerprint": column.fingerprint,
        "dataset": dataset.name,
        "rows": dataset.rows,
        "mean": dataset.score_mean,
    }


def _csv_record(group: Group) -> dict[str, object]:
    about = _describe_data(group.column, group.curves[0].dataset)
    missing = {status: group.count(status) for status in ("diverged", "failed", "unfinished")}
    protocol = {name: group.settings[name] for name in ("steps", "episodes")}
    variant = ", ".join(f"{name}={value}" for name, value in group.row[1])
    own = {"algorithm": group.row[0], "variant": variant, "seeds": len(group.counted), "mean": None}
    return about | protocol | missing | own | _csv_statistics(group)


def _csv_statistics(group: Group) -> dict[str, object]:
    if not group.counted:
        return {}
    scores = group.final_scores
    mean, std = mean_and_std(scores)
    low, high = bootstrap_interval([scores]) if len(scores) > 1 else (None, None)
    return {
        "evaluations": min(min(len(curve.scores), LAST_EVALUATIONS) for curve in group.counted),
        "mean": mean,
        "std": std if len(scores) > 1 else None,
        "ci_low": low,
        "ci_high": high,
        "iqm": interquartile_mean(scores),
    }
