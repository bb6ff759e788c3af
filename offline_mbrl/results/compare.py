"""Every row of a table against one of them, the baseline: differences, probabilities of improvement, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, sqrt

from offline_mbrl.errors import UserError, unknown_name
from offline_mbrl.results.aggregates import as_cells
from offline_mbrl.results.groups import Group, Row, column_labels, row_label, unique_columns
from offline_mbrl.results.intervals import interval, mean_difference, seeds_needed
from offline_mbrl.results.numbers import Style, plain, with_interval
from offline_mbrl.results.pairs import Pair, match
from offline_mbrl.results.query import Column
from offline_mbrl.results.statistics import Estimate, estimate_improvement, improvement

POINTS = 5.0
"""The difference in normalized score that a power note is about."""

TENTHS, HUNDREDTHS = Style(1), Style(2)


@dataclass(frozen=True)
class TaskComparison:
    """One row against the baseline on one column.

    `difference` is in points of normalized score, ours minus the baseline; `improvement` the probability that a seed of
    ours beats one of the baseline; `paired` says that both have the same seeds and so met the same starts; `std` is
    that of the differences where `paired`, else of a seed. `seeds_needed` of each tell 5 points apart with 80 % power,
    if the spread is as it looks (None: more than 1000, or one seed has no spread).
    """

    column: Column
    label: str
    seeds: tuple[int, int]
    paired: bool
    difference: Estimate
    improvement: float
    std: float
    seeds_needed: int | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return excludes(self.difference, 0.0)


@dataclass(frozen=True)
class Comparison:
    """One row against the baseline on each column that both have, and over all of them.

    `difference` is the mean over the columns, `improvement` the probability of improvement over them, and
    `seeds_needed` what tells a mean difference of 5 points.
    """

    row: Row
    baseline: Row
    tasks: Sequence[TaskComparison]
    difference: Estimate
    improvement: Estimate
    seeds_needed: int | None

    @property
    def sentences(self) -> list[str]:
        """What follows in plain words: first the conclusion over all columns, last the power note."""
        return [_conclusion(self), _mean(self), *_by_task(self), _power(self)]


def compare_groups(groups: Sequence[Group], baseline: str) -> list[Comparison]:
    """Every other row against `baseline`, an algorithm or the label of a row; rows that share no column are left out.

    Raises:
        UserError: there is no such row, there are several of that algorithm, or nothing to compare it with.
    """
    base = find_row(groups, baseline)
    scored, columns = as_cells(groups), column_labels(unique_columns(groups))
    found = []
    for row in dict.fromkeys(group.row for group in groups if group.row != base):
        shared = [column for column in columns if (row, column) in scored and (base, column) in scored]
        pairs = {column: match(scored[row, column], scored[base, column]) for column in shared}
        if pairs:
            found.append(_compare(row, base, [_on_task(one, columns[one], pair) for one, pair in pairs.items()], pairs))
    if not found:
        raise UserError(f"nothing to compare with {baseline}: no other row has seeds on the same task and data")
    return found


def find_row(groups: Sequence[Group], name: str) -> Row:
    """The row with a label, or that of an algorithm.

    Raises:
        UserError: there is none, or the algorithm has several.
    """
    rows = dict.fromkeys(group.row for group in groups)
    found = [row for row in rows if row_label(row) == name] or [row for row in rows if row[0] == name]
    if not found:
        raise unknown_name("baseline", name, map(row_label, rows))
    if len(found) > 1:
        labels = " or ".join(f"'{row_label(row)}'" for row in found)
        raise UserError(f"the baseline {name} has several rows; name {labels}")
    return found[0]


def excludes(about: Estimate, value: float) -> bool:
    """Whether there is an interval, and `value` lies outside it."""
    return about.low is not None and about.high is not None and not about.low <= value <= about.high


def _compare(row: Row, baseline: Row, tasks: Sequence[TaskComparison], pairs: dict[Column, Pair]) -> Comparison:
    ours, theirs, _ = zip(*pairs.values(), strict=True)
    difference = mean_difference([pair.spread for pair in pairs.values()])
    return Comparison(row, baseline, tasks, difference, estimate_improvement(ours, theirs), _needed(tasks))


def _on_task(column: Column, label: str, pair: Pair) -> TaskComparison:
    return TaskComparison(
        column,
        label,
        (pair.ours.size, pair.theirs.size),
        pair.paired,
        interval(pair.spread),
        float(improvement([pair.ours], [pair.theirs])),
        pair.std,
        None if isnan(pair.std) else seeds_needed(pair.std, POINTS, paired=pair.paired),
    )


def _needed(tasks: Sequence[TaskComparison]) -> int | None:
    """Seeds that tell the mean over tasks apart: its std is sqrt(sum s_t^2) / T, a paired s_t^2 being of two seeds."""
    paired = all(task.paired for task in tasks)
    variances = [task.std**2 / (2 if task.paired and not paired else 1) for task in tasks]
    std = sqrt(sum(variances)) / len(tasks)
    return None if isnan(std) else seeds_needed(std, POINTS, paired=paired)


def _conclusion(found: Comparison) -> str:
    ours, theirs = row_label(found.row), row_label(found.baseline)
    over = f"over {len(found.tasks)} task{'s' * (len(found.tasks) > 1)}"
    chance = with_interval(found.improvement, HUNDREDTHS)
    if found.improvement.low is None:
        return f"The probability that {ours} improves on {theirs} is {chance} {over}; these seeds allow no interval."
    if not excludes(found.improvement, 0.5):
        return f"{ours} and {theirs} cannot be told apart {over}: {ours} improves with probability {chance}."
    if found.improvement.value > 0.5:
        return f"{ours} improves on {theirs} with probability {chance} {over}."
    return f"{ours} falls behind {theirs} {over}: it improves with probability {chance} only."


def _mean(found: Comparison) -> str:
    over = "Its mean over tasks" if len(found.tasks) > 1 else "Its mean"
    points = plain(abs(found.difference.value), TENTHS)
    way = "higher" if found.difference.value >= 0 else "lower"
    if found.difference.low is None or found.difference.high is None:
        return f"{over} is {points} points {way}; these seeds allow no interval."
    bounds = f"[{plain(found.difference.low, TENTHS)}, {plain(found.difference.high, TENTHS)}]"
    certainty = "" if excludes(found.difference, 0.0) else ", which may be chance"
    return f"{over} is {points} points {way} (95 % interval of the difference {bounds}){certainty}."


def _by_task(found: Comparison) -> list[str]:
    told = [task for task in found.tasks if task.told_apart]
    kinds = {
        "It is better on {}.": [task.label for task in told if task.difference.value > 0],
        "It is worse on {}.": [task.label for task in told if task.difference.value < 0],
    }
    sentences = [sentence.format(", ".join(labels)) for sentence, labels in kinds.items() if labels]
    unclear: dict[str, list[str]] = {}
    for task in found.tasks:
        if not task.told_apart:
            unclear.setdefault(_seeds(task), []).append(task.label)
    return sentences + [f"{seeds} cannot tell them apart on {', '.join(on)}." for seeds, on in unclear.items()]


def _seeds(task: TaskComparison) -> str:
    ours, theirs = task.seeds
    return f"{ours} seed{'s' * (ours > 1)}" if ours == theirs else f"{ours} against {theirs} seeds"


def _power(found: Comparison) -> str:
    needed = [f"{_count(task.std, task.seeds_needed)} on {task.label}" for task in found.tasks]
    if len(found.tasks) > 1:
        needed.append(f"{_count(sum(task.std for task in found.tasks), found.seeds_needed)} for the mean over tasks")
    if all(isnan(task.std) for task in found.tasks):
        return f"How many seeds would tell {POINTS:.0f} points apart cannot be said: one seed has no spread."
    return (
        f"To tell {POINTS:.0f} points apart with 80 % power takes this many seeds of each, if they spread as these do: "
        f"{', '.join(needed)}."
    )


def _count(std: float, needed: int | None) -> str:
    if isnan(std):
        return "unknown (one seed has no spread)"
    return "over 1000" if needed is None else str(needed)
