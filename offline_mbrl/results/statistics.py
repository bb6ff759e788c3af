"""Statistics over evaluations, seeds and tasks; pure functions of NumPy arrays.

Definitions follow Agarwal et al. 2021 (arXiv 2108.13264) and equal those of its library, rliable, where every task has
as many seeds; otherwise each task weighs the same. `tasks` is one array [..., n_seeds] of final scores per task;
leading axes are resamples.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import lcm
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Sequence[Floats]], Floats]
"""From one array [..., n_seeds] per task to [...]."""

LAST_EVALUATIONS = 10
"""How many evaluations at the end of training make up the reported score; fixed before any run."""

TARGET = 100.0
"""The score of an expert, which an optimality gap is measured from."""

LEVEL = 0.95
RESAMPLES = 2000

FEWEST_SEEDS = 3
"""Seeds that every task needs for a bootstrap interval."""

FEWEST_FREEDOM = 8
"""Sum over tasks of seeds - 1 that a bootstrap interval needs; with less it covers the truth too seldom."""


class Estimate(NamedTuple):
    """A number and its 95 % interval; `low` and `high` are None together, where no interval would be honest."""

    value: float
    low: float | None = None
    high: float | None = None


class Band(NamedTuple):
    """Numbers [n] and their pointwise 95 % intervals [n]; `low` and `high` are None together."""

    value: Floats
    low: Floats | None = None
    high: Floats | None = None


Rule = Literal["last-ten", "median-of-fifty", "last"]


class Protocol(NamedTuple):
    """How a seed's evaluations become its score."""

    last: int  # evaluations at the end that count
    of: Callable[[Floats], Any]
    words: str


RULES: dict[Rule, Protocol] = {
    "last-ten": Protocol(LAST_EVALUATIONS, np.mean, "mean"),
    "median-of-fifty": Protocol(50, np.median, "median"),
    "last": Protocol(1, np.mean, "mean"),
}
"""Ours, which is OfflineRL-Kit's; ATAC's (Cheng et al. 2022, arXiv 2202.02446); D4RL's (arXiv 2004.07219)."""


def final_score(scores: ArrayLike, rule: Rule = "last-ten") -> float:
    """What `rule` makes of the evaluation scores [n] of one seed in order; of all where there are fewer than it takes.

    Raises:
        ValueError: there is no score.
    """
    values = np.asarray(scores, np.float64)
    if values.size == 0:
        raise ValueError("a final score needs at least one evaluation")
    return float(RULES[rule].of(values[-RULES[rule].last :]))


def mean_and_std(values: ArrayLike) -> tuple[float, float]:
    """Mean and sample standard deviation (divisor n - 1) of [n] seeds; the deviation of one seed is NaN."""
    seeds = np.asarray(values, np.float64)
    return float(seeds.mean()), float(seeds.std(ddof=1)) if seeds.size > 1 else float("nan")


def mean(tasks: Sequence[Floats]) -> Floats:
    """Mean over tasks of the mean over seeds, [...]."""
    return _task_means(tasks).mean(axis=0)


def median(tasks: Sequence[Floats]) -> Floats:
    """Median over tasks of the mean over seeds, [...]."""
    return np.asarray(np.median(_task_means(tasks), axis=0))


def interquartile_mean(tasks: Sequence[Floats]) -> Floats:
    """Mean of all n scores of all tasks without the floor(n / 4) lowest and as many highest, [...]."""
    ordered = np.sort(_pooled(tasks), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def optimality_gap(tasks: Sequence[Floats], target: float = TARGET) -> Floats:
    """Mean of how far scores stay below `target`, those above it counting as 0; lower is better, [...]."""
    return mean([target - np.minimum(scores, target) for scores in tasks])


def profile(tasks: Sequence[Floats], threshold: float) -> Floats:
    """Share of scores above `threshold`, [...]: one point of a performance profile."""
    return mean([(scores > threshold).astype(np.float64) for scores in tasks])


def improvement(ours: Sequence[Floats], theirs: Sequence[Floats]) -> Floats:
    """Mean over tasks of P(our seed > their seed) + P(equal) / 2, of Mann and Whitney's statistic, [...]."""
    return np.mean([_wins(x, y) for x, y in zip(ours, theirs, strict=True)], axis=0)


STATISTICS: dict[str, Statistic] = {
    "mean": mean,
    "median": median,
    "IQM": interquartile_mean,
    "optimality gap": optimality_gap,
}
"""The aggregates over tasks that tables and figures show."""


def estimate(
    tasks: Sequence[ArrayLike], statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """A statistic of all tasks and its percentile interval by a bootstrap over seeds, stratified by task.

    Args:
        tasks: one array [n_seeds] of final scores per task; the numbers of seeds may differ.
        statistic: such as those of `STATISTICS`.
        resamples: how many are drawn.
        seed: of the draws; the same arguments give the same interval.
        level: the share of resamples inside the interval.

    Returns:
        An estimate without interval where there are not `enough` seeds, or all resamples are alike.
    """
    scores = as_arrays(tasks)
    value = float(statistic(scores))
    if not enough(scores):
        return Estimate(value)
    return Estimate(value, *percentile_interval(statistic(draw(scores, resamples, seed)), level))


def estimate_improvement(
    ours: Sequence[ArrayLike],
    theirs: Sequence[ArrayLike],
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """The probability that a seed of ours beats one of theirs, mean over the same tasks in the same order.

    The seeds of both are resampled independently, as in rliable. See `estimate` for the arguments.
    """
    x, y = as_arrays(ours), as_arrays(theirs)
    value = float(improvement(x, y))
    if not (enough(x) and enough(y)):
        return Estimate(value)
    return Estimate(
        value, *percentile_interval(improvement(draw(x, resamples, seed), draw(y, resamples, seed + 1)), level)
    )


def performance_profile(
    tasks: Sequence[ArrayLike], thresholds: ArrayLike, resamples: int = RESAMPLES, seed: int = 0
) -> Band:
    """Shares of scores above each of `thresholds` [n], and their pointwise intervals; see `estimate`."""
    scores = as_arrays(tasks)
    points = [partial(profile, threshold=float(threshold)) for threshold in np.asarray(thresholds)]
    value = np.array([point(scores) for point in points])
    if not enough(scores):
        return Band(value)
    drawn = draw(scores, resamples, seed)
    return Band(value, *percentile_band([point(drawn) for point in points]))


def estimate_curve(
    tasks: Sequence[ArrayLike], statistic: Statistic = interquartile_mean, resamples: int = RESAMPLES, seed: int = 0
) -> Band:
    """A statistic against gradient steps, with pointwise intervals.

    A resample takes whole curves, the same seeds at every step.

    Args:
        tasks: one array [n_seeds, n_steps] per task, all at the same steps.
        statistic: such as those of `STATISTICS`.
        resamples: how many are drawn.
        seed: of the draws.
    """
    steps = [list(step) for step in zip(*(np.asarray(curves, np.float64).T for curves in tasks), strict=True)]
    value = np.array([statistic(step) for step in steps])
    if not steps or not enough(steps[0]):
        return Band(value)
    return Band(value, *percentile_band([statistic(draw(step, resamples, seed)) for step in steps]))


def as_arrays(tasks: Sequence[ArrayLike]) -> list[Floats]:
    """One array of floats per task."""
    return [np.asarray(scores, np.float64) for scores in tasks]


def enough(tasks: Sequence[Floats]) -> bool:
    """Whether there are the seeds that a bootstrap needs to cover the truth about as often as it says."""
    counts = [scores.shape[-1] for scores in tasks]
    return min(counts) >= FEWEST_SEEDS and sum(counts) - len(counts) >= FEWEST_FREEDOM


def draw(tasks: Sequence[Floats], resamples: int, seed: int) -> list[Floats]:
    """[resamples, n_seeds - 1] per task, with replacement.

    One fewer than there are seeds, which makes the variance of a resampled mean that of the mean, s^2 / n (Rao and Wu
    1988). As many as there are seeds, as rliable draws, make it s^2 (n - 1) / n^2, too small by a third for 3 seeds.
    """
    generator = np.random.default_rng(seed)
    return [scores[generator.integers(scores.size, size=(resamples, scores.size - 1))] for scores in tasks]


def percentile_interval(resampled: Floats, level: float = LEVEL) -> tuple[float, float] | tuple[None, None]:
    """Percentiles of [n] resamples; none where they are all alike, which says nothing about other seeds."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high)) if low < high else (None, None)


def percentile_band(resampled: Sequence[Floats], level: float = LEVEL) -> tuple[Floats, Floats]:
    """Percentiles of resamples [n, n_resamples] at each point."""
    low, high = np.quantile(np.array(resampled), [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return low, high


def _task_means(tasks: Sequence[Floats]) -> Floats:
    """Mean over seeds, [n_tasks, ...]."""
    return np.array([scores.mean(axis=-1) for scores in tasks])


def _pooled(tasks: Sequence[Floats]) -> Floats:
    """All scores [..., n]; those of a task with fewer seeds are repeated, so that tasks weigh the same."""
    most = lcm(*(scores.shape[-1] for scores in tasks))
    return np.concatenate([np.repeat(scores, most // scores.shape[-1], axis=-1) for scores in tasks], axis=-1)


def _wins(x: Floats, y: Floats) -> Floats:
    """Share of pairs of x [..., n] and y [..., m] that x wins, ties by half."""
    return (0.5 + 0.5 * np.sign(x[..., :, None] - y[..., None, :])).mean(axis=(-2, -1))
