"""Intervals for few seeds by Student's t distribution, differences between algorithms, and the seeds they need."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_mbrl.results.statistics import LEVEL, Band, Estimate

POWER = 0.8
MOST_SEEDS = 1000
"""Beyond which the number of seeds needed is not looked for."""


class Spread(NamedTuple):
    """A mean, the variance of that mean, and the degrees of freedom that variance is known with."""

    mean: float
    variance: float
    freedom: float


def t_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean of [n] seeds and its t-interval; one seed has none, nor have seeds that are all alike."""
    return interval(spread(values), level)


def t_band(curves: ArrayLike, level: float = LEVEL) -> Band:
    """Mean over seeds of curves [n_seeds, n], and its t-interval at every point."""
    seeds = np.asarray(curves, np.float64)
    mean, count = seeds.mean(axis=0), len(seeds)
    if count < 2:
        return Band(mean)
    reach = float(_quantile(level, count - 1)) * seeds.std(axis=0, ddof=1) / count**0.5
    return Band(mean, mean - reach, mean + reach)


def difference(ours: ArrayLike, theirs: ArrayLike, *, paired: bool, level: float = LEVEL) -> Estimate:
    """Mean of ours [n] minus theirs [m]: seed by seed where `paired` (n = m), else with Welch's interval."""
    return interval(difference_spread(ours, theirs, paired=paired), level)


def mean_difference(differences: Sequence[Spread], level: float = LEVEL) -> Estimate:
    """Mean over tasks of their differences; the degrees of freedom are Welch and Satterthwaite's."""
    return interval(
        combined(
            [Spread(s.mean / len(differences), s.variance / len(differences) ** 2, s.freedom) for s in differences]
        ),
        level,
    )


def spread(values: ArrayLike) -> Spread:
    """Of the mean of [n] seeds; NaN variance and 0 degrees of freedom for one seed."""
    seeds = np.asarray(values, np.float64)
    variance = float(seeds.var(ddof=1)) / seeds.size if seeds.size > 1 else float("nan")
    return Spread(float(seeds.mean()), variance, seeds.size - 1)


def difference_spread(ours: ArrayLike, theirs: ArrayLike, *, paired: bool) -> Spread:
    """Of the mean of ours [n] minus the mean of theirs [m]."""
    if paired:
        return spread(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    x, y = spread(ours), spread(theirs)
    return combined([x, Spread(-y.mean, y.variance, y.freedom)])


def combined(parts: Sequence[Spread]) -> Spread:
    """Of the sum of independent means: v = sum v_i with v^2 / sum(v_i^2 / f_i) degrees of freedom."""
    total = sum(part.mean for part in parts)
    variance = sum(part.variance for part in parts)
    if not all(part.freedom > 0 for part in parts) or variance == 0:
        return Spread(total, variance, min(part.freedom for part in parts))
    return Spread(total, variance, variance**2 / sum(part.variance**2 / part.freedom for part in parts))


def interval(about: Spread, level: float = LEVEL) -> Estimate:
    """The t-interval around a mean; none without a variance above 0."""
    if not (about.freedom > 0 and about.variance > 0):
        return Estimate(about.mean)
    reach = float(_quantile(level, about.freedom)) * about.variance**0.5
    return Estimate(about.mean, about.mean - reach, about.mean + reach)


def seeds_needed(
    std: float, points: float = 5.0, *, paired: bool, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Fewest seeds of each of two algorithms that tell a difference of `points` with probability `power`.

    Args:
        std: standard deviation over seeds, of the differences where `paired`, else of each algorithm.
        points: the true difference.
        paired: by a paired t-test; else by one of two samples.
        power: the probability that the test, at `level`, finds it.
        level: of the interval that excludes 0.

    Returns:
        None where more than `MOST_SEEDS` are needed.
    """
    counts = np.arange(2, MOST_SEEDS + 1)
    freedom = counts - 1 if paired else 2 * (counts - 1)
    shift = points / max(std, 1e-9) * np.sqrt(counts if paired else counts / 2)
    from scipy import stats

    bound = _quantile(level, freedom)
    # Far tails of the noncentral t are not finite in SciPy; a shift this large is always found.
    found = np.where(shift > bound + 8, 1.0, stats.nct.sf(bound, freedom, np.minimum(shift, bound + 8)))
    enough = counts[found >= power]
    return int(enough[0]) if enough.size else None


def _quantile(level: float, freedom: ArrayLike) -> NDArray[np.float64]:
    """How many standard errors Student's interval of that level reaches to each side."""
    # Imported here: `train` ends with a score, and one seed has no interval.
    from scipy import stats

    return np.asarray(stats.t.ppf((1 + level) / 2, freedom))
