"""The order of the rows of a table."""

from collections.abc import Callable, Sequence

from offline_mbrl.errors import unknown_name
from offline_mbrl.results.aggregates import mean_ranks, scores_by_row, shared_columns
from offline_mbrl.results.groups import Group, Row, column_labels, unique_columns
from offline_mbrl.results.statistics import STATISTICS

NAME, RANK = "name", "rank"
SHORT = {"iqm": "IQM", "gap": "optimality gap"}


def sort_rows(groups: Sequence[Group], by: str) -> list[Group]:
    """The groups, best row first, by a statistic over tasks, the mean rank, or the mean on one task; or by `name`.

    Raises:
        UserError: `by` is no such thing.
    """
    if by == NAME:
        return list(groups)
    key = _key(groups, by)
    rows = sorted(dict.fromkeys(group.row for group in groups), key=key)
    return sorted(groups, key=lambda group: rows.index(group.row))


def _key(groups: Sequence[Group], by: str) -> Callable[[Row], float]:
    """Lowest first."""
    labels = {label: column for column, label in column_labels(unique_columns(groups)).items()}
    statistic = SHORT.get(by, by)
    if by in labels:
        own = {group.row: group.final_scores.mean() for group in groups if group.column == labels[by] and group.counted}
        return lambda row: -own.get(row, float("-inf"))
    if by not in (RANK, *SHORT) and statistic not in STATISTICS:
        raise unknown_name("order", by, (NAME, RANK, "mean", "median", *SHORT, *labels))
    if not shared_columns(groups):
        return lambda row: 0.0
    if by == RANK:
        return mean_ranks(groups).__getitem__
    sign = 1 if statistic == "optimality gap" else -1
    values = {row: sign * float(STATISTICS[statistic](scores)) for row, scores in scores_by_row(groups).items()}
    return values.__getitem__
