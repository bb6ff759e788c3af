import math

import numpy as np
import pytest

from offline_mbrl.results.statistics import bootstrap_interval, final_score, interquartile_mean, mean_and_std


def test_final_score_is_the_mean_of_the_last_evaluations() -> None:
    assert final_score([100.0, 1.0, 2.0, 6.0], last=3) == 3.0
    assert final_score([*range(100), *[7.0] * 10]) == 7.0
    assert final_score([1.0, 2.0]) == 1.5
    with pytest.raises(ValueError, match="at least one"):
        final_score([])


def test_mean_and_sample_std() -> None:
    mean, std = mean_and_std([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert mean == 5.0
    assert std == pytest.approx(math.sqrt(32 / 7))
    assert math.isnan(mean_and_std([3.0])[1])


def test_interquartile_mean() -> None:
    assert interquartile_mean([1000.0, 2.0, 3.0, 4.0, 5.0, -1000.0, 0.0, 10.0]) == 3.5  # of 2, 3, 4, 5
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0
    assert interquartile_mean([-50.0, 1.0, 2.0, 3.0, 70.0]) == 2.0


def test_bootstrap_interval_is_seeded() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert bootstrap_interval([values]) == bootstrap_interval([values])
    assert bootstrap_interval([values], resamples=99) != bootstrap_interval([values], resamples=99, seed=1)


def test_bootstrap_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(10.0, 2.0, size=400)
    low, high = bootstrap_interval([values], resamples=5000)
    error = values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.02)


def test_bootstrap_resamples_within_tasks() -> None:
    # Pooled resampling would spread over 0 to 100; within tasks nothing varies.
    assert bootstrap_interval([[0.0, 0.0], [100.0, 100.0, 100.0]]) == (50.0, 50.0)


def test_bootstrap_of_two_seeds_is_the_distribution_of_their_draws() -> None:
    # Means 0, 1, 2 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval([[0.0, 2.0]], level=0.4) == (1.0, 1.0)
    assert bootstrap_interval([[0.0, 2.0]], level=0.6) == (0.0, 2.0)
