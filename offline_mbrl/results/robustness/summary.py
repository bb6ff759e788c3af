"""One number for each kind of disturbance: what it leaves of a score."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.results.robustness.gather import RELEASED, Measured
from offline_mbrl.robustness.protocol import CLEAN, GRID, Point

Floats = NDArray[np.float64]

NAMED_EPSILON = 0.1
"""Whose scores stand beside the areas, or those of the nearest that was measured."""


def area(axis: Sequence[float], scores: Floats) -> Floats:
    """The area under scores [n, seeds] over an axis [n], by trapezoids, divided by the axis' length: [seeds].

    It is a score: that of a policy whose disturbance is drawn uniformly from the axis.
    """
    return np.asarray(np.trapezoid(scores, axis, axis=0) / (axis[-1] - axis[0]))


def summaries(measured: Measured) -> dict[str, Floats]:
    """[seeds] by kind: the mean over a grid, the area under a curve, the score where there is only one point."""
    kinds = dict.fromkeys(point.kind for point in measured.points)
    return {kind: _summary(kind, measured.of(kind)) for kind in kinds}


def curve(points: Mapping[Point, Floats]) -> tuple[list[float], Floats]:
    """The axis [n] and the scores [n, seeds] of points of one kind with one axis."""
    return [point.values[0][1] for point in points], np.stack(list(points.values()))


def at_named_epsilon(measured: Measured, kind: str) -> tuple[float, Floats] | None:
    """The epsilon nearest to the named one and the scores there; None where the kind was not measured."""
    points = measured.of(kind)
    if not points:
        return None
    nearest = min(points, key=lambda point: abs(point.epsilon - NAMED_EPSILON))
    return nearest.epsilon, points[nearest]


def heat(points: Mapping[Point, Floats]) -> tuple[list[float], list[float], Floats]:
    """The frictions [f], gravities [g] and mean scores over seeds [f, g] of a grid; NaN where a point is missing."""
    frictions = sorted({dict(point.values)["friction"] for point in points})
    gravities = sorted({dict(point.values)["gravity"] for point in points})
    means = {point.values: scores.mean() for point, scores in points.items()}
    cells = [[means.get((("friction", f), ("gravity", g)), np.nan) for g in gravities] for f in frictions]
    return frictions, gravities, np.array(cells)


def _summary(kind: str, points: Mapping[Point, Floats]) -> Floats:
    if kind in (CLEAN, GRID, RELEASED) or len(points) == 1:
        return np.asarray(np.mean(list(points.values()), axis=0))
    return area(*curve(points))
