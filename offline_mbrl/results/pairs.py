"""Two groups on one column: which of their seeds stand against each other, and how much they spread."""

from math import nan, sqrt
from typing import NamedTuple

import numpy as np

from offline_mbrl.results.groups import Group, reported_score
from offline_mbrl.results.intervals import Spread, difference_spread
from offline_mbrl.results.statistics import Floats

SHARED = ("steps", "evaluate_every", "episodes")
"""The settings that, with the seed, decide the starts of the evaluations behind a score."""


class Pair(NamedTuple):
    """Final scores of ours [n] and theirs [m]; seed by seed where `paired`."""

    ours: Floats
    theirs: Floats
    paired: bool

    @property
    def spread(self) -> Spread:
        """Of the mean difference."""
        return difference_spread(self.ours, self.theirs, paired=self.paired)

    @property
    def std(self) -> float:
        """Of the differences where paired, else of a seed, pooled over both; NaN where one seed has no spread."""
        if min(self.ours.size, self.theirs.size) < 2:
            return nan
        if self.paired:
            return float(np.std(self.ours - self.theirs, ddof=1))
        return sqrt((np.var(self.ours, ddof=1) + np.var(self.theirs, ddof=1)) / 2)


def match(ours: Group, theirs: Group) -> Pair:
    """Pairs seeds where both groups have the same ones and their evaluations the same starts."""
    x, y = _by_seed(ours), _by_seed(theirs)
    paired = x.keys() == y.keys() and all(ours.settings[name] == theirs.settings[name] for name in SHARED)
    return Pair(np.array(list(x.values())), np.array(list(y.values())), paired)


def _by_seed(group: Group) -> dict[int, float]:
    return {
        curve.seed: reported_score(curve, group.rule) for curve in sorted(group.counted, key=lambda curve: curve.seed)
    }
