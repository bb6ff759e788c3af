"""Statistics over evaluations, seeds and tasks; pure functions of NumPy arrays.

Definitions follow Agarwal et al. 2021 (arXiv 2108.13264).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

LAST_EVALUATIONS = 10
"""How many evaluations at the end of training make up the reported score; fixed before any run."""


def final_score(scores: ArrayLike, last: int = LAST_EVALUATIONS) -> float:
    """Mean of the last `last` evaluation scores [n] of one seed in order, or of all where there are fewer.

    Raises:
        ValueError: there is no score.
    """
    values = np.asarray(scores, np.float64)
    if values.size == 0:
        raise ValueError("a final score needs at least one evaluation")
    return float(values[-last:].mean())


def mean_and_std(values: ArrayLike) -> tuple[float, float]:
    """Mean and sample standard deviation (divisor n - 1) of [n] seeds; the deviation of one seed is NaN."""
    seeds = np.asarray(values, np.float64)
    return float(seeds.mean()), float(seeds.std(ddof=1)) if seeds.size > 1 else float("nan")


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of what is left of [n] values without the floor(n / 4) lowest and as many highest."""
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def bootstrap_interval(
    tasks: Sequence[ArrayLike], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean over tasks of the mean over seeds, by a stratified bootstrap.

    Every resample draws, task by task, as many seeds with replacement as the task has, so tasks keep their weight
    however many seeds each of them has. The same arguments give the same interval.

    Args:
        tasks: one array [n_seeds] of scores per task; the numbers of seeds may differ.
        level: the share of resamples inside the interval.
        resamples: how many are drawn.
        seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    means = np.mean([_resampled_means(np.asarray(task, np.float64), resamples, generator) for task in tasks], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_means(values: NDArray[np.float64], count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """[count] means of as many draws with replacement as there are `values` [n]."""
    means: NDArray[np.float64] = generator.choice(values, size=(count, values.size)).mean(axis=1)
    return means
