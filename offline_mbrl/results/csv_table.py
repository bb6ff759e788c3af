"""The table as CSV: a line per cell, then a line per row over tasks, in full precision."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from offline_mbrl.results.aggregates import Aggregate, aggregate, best, shared_columns
from offline_mbrl.results.captions import used_evaluations
from offline_mbrl.results.groups import Group, Row, unique_columns
from offline_mbrl.results.intervals import t_interval
from offline_mbrl.results.published import published_means, read, select
from offline_mbrl.results.query import Column, DataSummary
from offline_mbrl.results.statistics import Estimate, interquartile_mean, mean_and_std

DATA = "data"
ALL_TASKS = "(all tasks)"
STEMS = {"mean": "mean", "median": "median", "IQM": "iqm", "optimality gap": "optimality_gap"}
BOUNDS = ("", "_low", "_high")
FIELDS = (
    *("algorithm", "variant", "task", "source", "physics", "fingerprint", "dataset", "rows"),
    *("steps", "evaluations", "episodes", "seeds", "diverged", "failed", "unfinished"),
    *("mean", "std", "ci_low", "ci_high", "iqm", "best"),
    *("median", "optimality_gap", "rank", "median_low", "median_high", "iqm_low", "iqm_high"),
    *("optimality_gap_low", "optimality_gap_high", "published", "published_by"),
)


def as_csv(groups: Sequence[Group], published: Path | None = None) -> str:
    """A line for each data set and cell, and for each row one of the task "(all tasks)" with its aggregates.

    `ci_low` and `ci_high` are the t-interval of a cell and the bootstrap interval of a mean over tasks; `best` is 1
    for a cell in bold. With `published` a cell has a line for each published mean.
    """
    output = io.StringIO()
    writer = csv.DictWriter(output, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_describe_data(column, dataset) for column, dataset in unique_columns(groups).items())
    outstanding, theirs = best(groups), _published(groups, published)
    for group in groups:
        record = _cell_record(group, (group.row, group.column) in outstanding)
        own = theirs.get((group.row[0], group.column.task), [])
        writer.writerows([{**record, **one} for one in own] or [record])
    if len(shared_columns(groups)) > 1:
        writer.writerows(map(_aggregate_record, aggregate(groups)))
    return output.getvalue()


def _published(groups: Sequence[Group], path: Path | None) -> dict[tuple[str, str], list[dict[str, object]]]:
    """By algorithm and task what others published."""
    if path is None:
        return {}
    algorithms, tasks = {group.row[0] for group in groups}, {group.column.task for group in groups}
    found: dict[tuple[str, str], list[dict[str, object]]] = {}
    for (algorithm, name), means in published_means(select(read(path), algorithms, tasks, "v2")).items():
        for task, mean in means.items():
            found.setdefault((algorithm, task), []).append({"published": mean, "published_by": name})
    return found


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


def _cell_record(group: Group, outstanding: bool) -> dict[str, object]:
    about = _describe_data(group.column, group.curves[0].dataset)
    missing = {status: group.count(status) for status in ("diverged", "failed", "unfinished")}
    protocol = {name: group.settings[name] for name in ("steps", "episodes")}
    own = {**_names(group.row), "seeds": len(group.counted), "mean": None, "best": int(outstanding)}
    return about | protocol | missing | own | _statistics(group)


def _names(row: Row) -> dict[str, object]:
    return {"algorithm": row[0], "variant": ", ".join(f"{name}={value}" for name, value in row[1])}


def _statistics(group: Group) -> dict[str, object]:
    if not group.counted:
        return {}
    scores = group.final_scores
    mean, std = mean_and_std(scores)
    _, low, high = t_interval(scores)
    return {
        "evaluations": used_evaluations(group),
        "mean": mean,
        "std": std if len(scores) > 1 else None,
        "ci_low": low,
        "ci_high": high,
        "iqm": float(interquartile_mean([scores])),
    }


def _aggregate_record(found: Aggregate) -> dict[str, object]:
    record = {**_names(found.row), "task": ALL_TASKS, "rank": found.rank}
    for name, about in found.estimates.items():
        record |= dict(_with_bounds(STEMS[name], about))
    return record


def _with_bounds(stem: str, about: Estimate) -> Iterator[tuple[str, object]]:
    names = ("mean", "ci_low", "ci_high") if stem == "mean" else tuple(stem + bound for bound in BOUNDS)
    yield from zip(names, about, strict=True)
