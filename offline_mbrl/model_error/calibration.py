"""Whether predicted distributions hold what they claim: coverage of central intervals, by the probability transform.

With F the predicted distribution function, y lies in the central interval of level p where |2 F(y) - 1| <= p; where the
prediction is right, F(y) is uniform and that happens with probability p.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from offline_mbrl.simulation.rules import Floats

LEVELS = (0.5, 0.8, 0.95)
"""Of the intervals that tables show."""

NOMINAL = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Levels of the reliability diagram."""


def calibration(mean: Floats, std: Floats, elites: NDArray[np.integer], true: Floats) -> dict[str, Any]:
    """Coverage of every member and of the mixture of the elites.

    Args:
      mean: [N, B, d + 1] of y = (r, s' - s).
      std: [N, B, d + 1] likewise.
      elites: [E] the members of the mixture.
      true: [B, d + 1].

    Returns:
      "members" and "mixture": the observed coverage at `NOMINAL` over rows and dimensions, [N] of them and one;
      "dimensions": the mixture's at `LEVELS`, each [d + 1], the reward first; "error": mean |observed - nominal|.
    """
    levels = transform(mean, std, true)
    mixture = levels[elites].mean(axis=0)
    observed = coverage(mixture, NOMINAL)
    return {
        "nominal": NOMINAL,
        "mixture": observed,
        "error": float(np.abs(observed - np.asarray(NOMINAL)).mean()),
        "members": [coverage(member, NOMINAL) for member in levels],
        "intervals": dict(zip(map(str, LEVELS), coverage(mixture, LEVELS), strict=True)),
        "dimensions": {str(level): coverage(mixture, (level,), axis=0)[0] for level in LEVELS},
    }


def transform(mean: Floats, std: Floats, true: Floats) -> Floats:
    """F(y) of every member, [N, B, d + 1]; a member without noise has a step there, 1/2 where it is exact."""
    error = np.asarray(true, np.float64) - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(error == 0, 0.0, error / std)
    values: Floats = ndtr(deviations)
    return values


def coverage(levels: Floats, nominal: tuple[float, ...], axis: int | None = None) -> NDArray[np.float64]:
    """The share of F(y) in each central interval, over all or over the rows alone."""
    return np.array([(np.abs(2 * levels - 1) <= level).mean(axis=axis) for level in nominal])
