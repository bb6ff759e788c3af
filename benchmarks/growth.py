"""How a cost grows with a size: the slope of a straight line through logarithms, and where it ends."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Growth(NamedTuple):
    """cost ~ size^exponent over all sizes, and between the last two; and the cost of one more unit of size."""

    exponent: float
    last: float
    per_unit: float


def growth(sizes: Sequence[float], costs: Sequence[float]) -> Growth:
    """Least squares of log cost on log size, and of cost on size.

    Raises:
      ValueError: fewer than two sizes, or a size or cost that is not above 0.
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(costs, np.float64)
    if len(np.unique(x)) < 2 or not (x > 0).all() or not (y > 0).all():
        raise ValueError("a growth needs two different sizes, and sizes and costs above 0")
    order = np.argsort(x)
    logs = np.log(x[order]), np.log(y[order])
    return Growth(slope(*logs), slope(logs[0][-2:], logs[1][-2:]), slope(x, y))


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the straight line through the points by least squares."""
    centered = x - x.mean()
    return float(centered @ y / (centered @ centered))
