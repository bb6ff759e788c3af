from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from offline_mbrl.results.intervals import difference, mean_difference, seeds_needed, spread, t_band, t_interval
from offline_mbrl.results.statistics import Estimate, Floats

SIMULATIONS = 20_000
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


def normal(generator: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return generator.normal(60.0, 8.0, shape)


def half_collapse(generator: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Each seed ends near 90, or with probability 0.5 near 20: mean 55."""
    return np.where(generator.random(shape) < 0.5, generator.normal(20, 8, shape), generator.normal(90, 8, shape))


def some_collapse(generator: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Each seed ends near 90, or with probability 0.2 near 20: mean 76."""
    return np.where(generator.random(shape) < 0.2, generator.normal(20, 8, shape), generator.normal(90, 8, shape))


def coverage(seeds: int, draw: Draw, truth: float) -> tuple[float, float]:
    """How often the t-interval, and for comparison the percentile bootstrap, of the mean hold the true mean."""
    generator = np.random.default_rng(seeds)
    made = draw(generator, (SIMULATIONS, seeds))
    band = t_band(made.T)
    assert band.low is not None
    assert band.high is not None
    few = made[:2000, None]
    resampled = np.take_along_axis(few, generator.integers(seeds, size=(2000, 200, seeds)), axis=2).mean(axis=2)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    return float(np.mean((band.low <= truth) & (truth <= band.high))), float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("seeds", range(2, 11))
def test_the_t_interval_of_normal_seeds_covers_their_mean(seeds: int) -> None:
    covered, bootstrap = coverage(seeds, normal, 60.0)
    assert 0.94 <= covered <= 0.96
    assert bootstrap < covered - 0.02  # 0.49 for 2 seeds, 0.80 for 4


@pytest.mark.medium
@pytest.mark.parametrize(
    ("draw", "truth", "least"),
    [
        (half_collapse, 55.0, {2: 0.79, 3: 0.75, 4: 0.86, 5: 0.92, 6: 0.93, 7: 0.92, 8: 0.92, 9: 0.93, 10: 0.93}),
        (some_collapse, 76.0, {2: 0.86, 3: 0.77, 4: 0.72, 5: 0.70, 6: 0.73, 7: 0.77, 8: 0.81, 9: 0.84, 10: 0.87}),
    ],
)
def test_the_t_interval_of_collapsing_seeds_covers_what_the_guide_says(
    draw: Draw, truth: float, least: dict[int, float]
) -> None:
    """Seeds that happen to show no collapse, or nothing else, cannot know of it; the guide prints these numbers."""
    for seeds, share in least.items():
        covered, bootstrap = coverage(seeds, draw, truth)
        assert share <= covered <= share + 0.05, seeds
        assert covered > bootstrap, seeds


def test_t_interval_by_hand() -> None:
    # Mean 4, s = 2, standard error 2 / sqrt(3); t of 2 degrees of freedom is 4.302653 at 97.5 %.
    about = t_interval([2.0, 4.0, 6.0])
    assert about == pytest.approx((4, 4 - 4.302653 * 2 / 3**0.5, 4 + 4.302653 * 2 / 3**0.5), abs=1e-5)
    assert t_interval([3.0]) == Estimate(3.0)
    assert t_interval([3.0, 3.0]) == Estimate(3.0)


def test_a_paired_difference_forgets_what_seeds_share() -> None:
    ours, theirs = [11.0, 52.0, 93.0], [10.0, 50.0, 90.0]
    assert difference(ours, theirs, paired=True) == pytest.approx(t_interval([1.0, 2.0, 3.0]))
    unpaired = difference(ours, theirs, paired=False)
    welch = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    assert unpaired == pytest.approx((2.0, welch.low, welch.high))


def test_a_mean_of_differences_over_tasks() -> None:
    # Two tasks of equal spread: standard error s / sqrt(3) / sqrt(2), degrees of freedom 2 + 2.
    values = np.array([1.0, 2.0, 3.0])
    reach = stats.t.ppf(0.975, 4) / 3**0.5 / 2**0.5
    assert mean_difference([spread(values), spread(values + 4)]) == pytest.approx((4, 4 - reach, 4 + reach))
    assert mean_difference([spread(values), spread([1.0])]) == Estimate(1.5)
    assert mean_difference([spread([2.0, 2.0]), spread(values)]).low is not None


@pytest.mark.parametrize(
    ("std", "paired", "seeds"),
    # R: power.t.test(delta = 5, sd = std, power = 0.8, type = ...) gives 33.37, 63.77 and 3.76 seeds, rounded up.
    [(10.0, True, 34), (10.0, False, 64), (2.5, False, 6), (0.0, False, 2), (1000.0, True, None)],
)
def test_seeds_needed(std: float, paired: bool, seeds: int | None) -> None:
    assert seeds_needed(std, 5.0, paired=paired) == seeds
