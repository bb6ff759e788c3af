"""Prints what rliable says about fixed scores and fixed draws, the expected values of test_rliable.py.

    python -m venv rl && rl/bin/pip install rliable==1.2.0 'pandas<3' arch==7.2.0
    rl/bin/python tests/results/record_rliable.py

rliable draws from NumPy's global generator, whatever it is given; so that is what is seeded.
"""

import json

import numpy as np
from rliable import library, metrics  # type: ignore[import-not-found]

RESAMPLES, SEED = 40, 7
THRESHOLDS = np.array([10.0, 40.0, 70.0])
X = (np.arange(20.0).reshape(5, 4) * 37 % 101) ** 2 / 100
Y = np.arange(12.0).reshape(3, 4) * 53 % 89


def aggregates(scores: np.ndarray) -> np.ndarray:
    gap = metrics.aggregate_optimality_gap(scores, gamma=60.0)
    named = (metrics.aggregate_mean, metrics.aggregate_median, metrics.aggregate_iqm)
    return np.array([*(function(scores) for function in named), gap])


def improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([metrics.probability_of_improvement(x, y)])


def curve(scores: np.ndarray) -> np.ndarray:
    return np.array([metrics.aggregate_iqm(scores[..., step]) for step in range(scores.shape[-1])])


np.random.seed(SEED)  # noqa: NPY002
points, intervals = library.get_interval_estimates({"x": X}, aggregates, reps=RESAMPLES)
print("aggregates", json.dumps([points["x"].tolist(), *intervals["x"].tolist()]))
np.random.seed(SEED)  # noqa: NPY002
points, intervals = library.create_performance_profile({"x": X}, THRESHOLDS, reps=RESAMPLES)
print("profile", json.dumps([points["x"].tolist(), *intervals["x"].tolist()]))
np.random.seed(SEED)  # noqa: NPY002
points, intervals = library.get_interval_estimates({"xy": [X, Y]}, improvement, reps=RESAMPLES)
print("improvement", json.dumps([points["xy"].tolist(), *intervals["xy"].tolist()]))
points, _ = library.get_interval_estimates({"x": np.stack([X, X**2 / 100, X % 50], -1)}, curve, reps=2)
print("curve", json.dumps(points["x"].tolist()))
