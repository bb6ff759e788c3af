"""Every row of a table against one of them, the baseline: differences, probabilities of improvement, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from offline_mbrl.results.groups import Group, Row
from offline_mbrl.results.query import Column
from offline_mbrl.results.statistics import Estimate


@dataclass(frozen=True)
class TaskComparison:
    """One row against the baseline on one column.

    `difference` is in points of normalized score, ours minus the baseline; `improvement` the probability that a seed of
    ours beats one of the baseline; `paired` says that both have the same seeds and so met the same starts;
    `seeds_needed` of each tell 5 points apart with 80 % power, if the spread is as it looks (None: more than 1000, or
    one seed has no spread).
    """

    column: Column
    label: str
    seeds: tuple[int, int]
    paired: bool
    difference: Estimate
    improvement: float
    seeds_needed: int | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and not low <= 0 <= high


@dataclass(frozen=True)
class Comparison:
    """One row against the baseline on each column that both have, and over all of them."""

    row: Row
    baseline: Row
    tasks: Sequence[TaskComparison]
    difference: Estimate
    """Mean over the columns."""
    improvement: Estimate
    sentences: Sequence[str]
    """What follows, in plain words; the first is the conclusion over all tasks, the last the power note."""


def compare_groups(groups: Sequence[Group], baseline: str) -> list[Comparison]:
    """Every other row against `baseline`, an algorithm or the label of a row; rows that share no column are left out.

    Raises:
        UserError: there is no such row, or there are several of that algorithm.
    """
    raise NotImplementedError
