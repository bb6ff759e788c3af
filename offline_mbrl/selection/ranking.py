"""How well estimates order policies, as DOPE scores it (Fu et al. 2021, arXiv 2103.16596, section 3).

Everything takes estimates and true values of the same C policies, higher is better.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from offline_mbrl.simulation.rules import Floats

KEPT = (1, 3, 5)
"""Numbers of policies k that one may keep for regret@k."""


def regret(estimates: Floats, truth: Floats, kept: int) -> float:
    """Regret@k: the best true value of all minus that of the `kept` policies with the highest estimates."""
    chosen = np.argsort(-_comparable(estimates), kind="stable")[:kept]
    return float(truth.max() - truth[chosen].max())


def absolute_error(estimates: Floats, truth: Floats) -> float:
    """Mean |estimate - truth|, which says something only of estimates in the unit of a value."""
    return float(np.abs(estimates - truth).mean())


def mean_rank(columns: Sequence[Floats]) -> Floats:
    """[C] the mean over several estimates of a policy's rank, 1 the lowest: estimates of any unit combined."""
    ranks: Floats = np.mean([rankdata(_comparable(column)) for column in columns], axis=0)
    return ranks


def _comparable(estimates: Floats) -> Floats:
    """An estimate that is not a number ranks last."""
    return np.where(np.isnan(estimates), -np.inf, estimates)
