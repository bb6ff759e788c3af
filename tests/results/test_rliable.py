"""Equal to rliable 1.2.0 on the same scores and the same draws: the values that this printed, in a clean environment.

pip install rliable==1.2.0 'pandas<3' arch==7.2.0
python tests/results/record_rliable.py
"""

from collections.abc import Sequence

import numpy as np
import pytest

from offline_mbrl.results import statistics
from offline_mbrl.results.statistics import Floats

RESAMPLES, SEED = 40, 7
THRESHOLDS = (10.0, 40.0, 70.0)
X = (np.arange(20.0).reshape(5, 4) * 37 % 101) ** 2 / 100
Y = np.arange(12.0).reshape(3, 4) * 53 % 89

# Each: the point estimates, the lower and the upper bounds.
AGGREGATES = [
    [32.699, 31.049999999999997, 25.921, 31.736],
    [21.7595, 22.680100000000007, 14.430725, 18.0931875],
    [50.44488749999999, 48.21524999999999, 53.42944999999998, 39.2683625],
]
PROFILE = [
    [0.65, 0.35, 0.2],
    [0.5487500000000001, 0.19875000000000007, 0.09750000000000009],
    [0.85125, 0.6024999999999998, 0.4],
]
IMPROVEMENT = [[0.3583333333333333], [0.21666666666666667], [0.55]]
CURVE = [25.921, 9.0307381, 15.137]


def draws(*scores: Floats) -> list[list[Floats]]:
    """[RESAMPLES, n_seeds] per task of each of `scores` [n_seeds, n_tasks], as rliable draws them."""
    stream = np.random.RandomState(SEED)
    drawn = [[resample(matrix, stream) for matrix in scores] for _ in range(RESAMPLES)]
    return [list(np.array(matrices).transpose(2, 0, 1)) for matrices in zip(*drawn, strict=True)]


def resample(matrix: Floats, stream: np.random.RandomState) -> Floats:
    return np.take_along_axis(matrix, stream.choice(len(matrix), matrix.shape), axis=0)


def gap(tasks: Sequence[Floats]) -> Floats:
    return statistics.optimality_gap(tasks, target=60.0)


@pytest.mark.parametrize(
    ("place", "statistic"),
    list(enumerate([statistics.mean, statistics.median, statistics.interquartile_mean, gap])),
    ids=["mean", "median", "IQM", "optimality gap"],
)
def test_aggregates(place: int, statistic: statistics.Statistic) -> None:
    (drawn,) = draws(X)
    low, high = statistics.percentile_interval(statistic(drawn))
    assert (float(statistic(list(X.T))), low, high) == pytest.approx(tuple(values[place] for values in AGGREGATES))


def test_performance_profiles() -> None:
    (drawn,) = draws(X)
    low, high = statistics.percentile_band([statistics.profile(drawn, threshold) for threshold in THRESHOLDS])
    points = [statistics.profile(list(X.T), threshold) for threshold in THRESHOLDS]
    np.testing.assert_allclose(np.array([points, low, high]), np.array(PROFILE), rtol=1e-12)


def test_probability_of_improvement() -> None:
    low, high = statistics.percentile_interval(statistics.improvement(*draws(X, Y)))
    point = float(statistics.improvement(list(X.T), list(Y.T)))
    assert (point, low, high) == pytest.approx(tuple(value for (value,) in IMPROVEMENT))


def test_interquartile_mean_against_steps() -> None:
    curves = np.stack([X, X**2 / 100, X % 50], axis=-1)
    np.testing.assert_allclose(statistics.estimate_curve(list(curves.transpose(1, 0, 2))).value, CURVE, rtol=1e-12)
