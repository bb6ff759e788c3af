import math

import numpy as np
import pytest

from offline_mbrl.results.statistics import (
    Estimate,
    Statistic,
    draw,
    estimate,
    estimate_curve,
    estimate_improvement,
    final_score,
    improvement,
    interquartile_mean,
    mean,
    mean_and_std,
    median,
    optimality_gap,
    performance_profile,
    profile,
)


def test_final_score_is_the_mean_of_the_last_evaluations() -> None:
    assert final_score([*range(100), *[7.0] * 9, 17.0]) == 8.0
    assert final_score([1.0, 2.0]) == 1.5
    with pytest.raises(ValueError, match="at least one"):
        final_score([])


def test_the_rules_of_other_papers_by_hand() -> None:
    scores = [100.0, *[5.0] * 26, *[9.0] * 23, 1.0]  # the last fifty: 26 fives, 23 nines and a one
    assert final_score(scores, "last") == 1.0
    assert final_score(scores, "median-of-fifty") == 5.0
    assert final_score(scores, "last-ten") == pytest.approx(8.2)
    assert final_score([1.0, 2.0, 6.0], "median-of-fifty") == 2.0


def test_mean_and_sample_std() -> None:
    mean, std = mean_and_std([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert mean == 5.0
    assert std == pytest.approx(math.sqrt(32 / 7))
    assert math.isnan(mean_and_std([3.0])[1])


def test_interquartile_mean() -> None:
    scores = np.array([1000.0, 2.0, 3.0, 4.0, 5.0, -1000.0, 0.0, 10.0])
    assert interquartile_mean([scores]) == 3.5  # of 2, 3, 4, 5
    assert interquartile_mean([scores[:3], scores[3:6]]) == 3.5  # one of six is cut from either end: of 2, 3, 4, 5
    assert interquartile_mean([np.array([-50.0, 1.0, 2.0, 3.0, 70.0])]) == 2.0


def test_a_task_weighs_the_same_however_many_seeds_it_has() -> None:
    tasks = [np.array([0.0, 0.0]), np.array([100.0, 100.0, 100.0, 40.0])]
    assert mean(tasks) == 42.5
    assert median(tasks) == 42.5
    assert interquartile_mean(tasks) == 35.0  # of 0, 0, 40, 100 amid 0, 0, 0, 0, 40, 100, 100, 100
    assert optimality_gap(tasks, 90.0) == (90 + 50 / 4) / 2
    assert profile(tasks, 40.0) == 0.375


def test_probability_of_improvement_counts_ties_by_half() -> None:
    assert improvement([np.array([1.0, 3.0])], [np.array([2.0, 3.0])]) == 0.375  # 0, 0, 1 and a half
    assert improvement([np.array([1.0])], [np.array([1.0])]) == 0.5


def test_an_interval_is_seeded() -> None:
    tasks = [np.arange(9.0)]
    assert estimate(tasks, mean) == estimate(tasks, mean)
    assert estimate(tasks, mean, resamples=99) != estimate(tasks, mean, resamples=99, seed=1)


def test_the_bootstrap_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(10.0, 2.0, size=400)
    about = estimate([values], mean, resamples=5000)
    error = values.std(ddof=1) / math.sqrt(400)
    assert about[1:] == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.02)


def test_the_variance_of_few_seeds_is_not_too_small() -> None:
    # The resampled mean has the variance s^2 / n of the mean itself: 1 / 3 for the values 0, 1 and 2.
    drawn = draw([np.array([0.0, 1.0, 2.0])], 40_000, 0)
    assert mean(drawn).var() == pytest.approx(1 / 3, rel=0.03)


def test_no_interval_where_none_is_honest() -> None:
    assert estimate([np.arange(8.0)], mean).low is None  # 7 degrees of freedom
    assert estimate([np.arange(9.0)], mean).low is not None
    assert estimate([np.arange(2.0)] * 12, mean).low is None  # 2 seeds
    assert estimate([np.arange(3.0)] * 4, mean).low is not None
    assert estimate([np.ones(9)], mean) == Estimate(1.0)  # all alike says nothing about other seeds
    assert estimate_improvement([np.ones(9)], [np.zeros(9)]) == Estimate(1.0)
    assert performance_profile([np.arange(3.0)], [1.0]).low is None


def test_the_bootstrap_resamples_within_tasks() -> None:
    # Pooled resampling would spread over 0 to 100; within tasks nearly nothing varies.
    low, high = estimate([np.arange(5.0) / 100, 100 + np.arange(5.0) / 100], mean)[1:]
    assert low is not None
    assert high is not None
    assert 50 < low < high < 50.05


def test_a_curve_is_the_statistic_at_each_step() -> None:
    curves = [np.arange(18.0).reshape(9, 2), np.arange(18.0, 36.0).reshape(9, 2)]
    band = estimate_curve(curves)
    last = estimate([curve[:, 1] for curve in curves], interquartile_mean)
    assert band.low is not None
    assert band.high is not None
    assert (band.value[1], band.low[1], band.high[1]) == last


SIMULATIONS, SPREAD = 400, 8.0
TRUE_MEANS = np.linspace(30.0, 90.0, 12)


@pytest.mark.medium
@pytest.mark.parametrize(("seeds", "least"), [(3, 0.88), (5, 0.89), (10, 0.90)])
@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_coverage_of_aggregates_over_twelve_tasks(seeds: int, least: float, statistic: Statistic) -> None:
    """Simulated: 12 tasks with means 30 to 90 and normal seeds of standard deviation 8; 400 trials, so +- 0.03."""
    generator = np.random.default_rng(0)
    made = generator.normal(TRUE_MEANS[:, None], SPREAD, size=(SIMULATIONS + 2000, 12, seeds))
    truth = float(np.mean([statistic(list(one)) for one in made[SIMULATIONS:]]))
    found = [estimate(list(one), statistic, resamples=300) for one in made[:SIMULATIONS]]
    covered = np.mean([about.low <= truth <= about.high for about in found if about.low and about.high])
    assert least <= covered <= 0.985
