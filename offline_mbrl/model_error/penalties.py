"""Whether a penalty is large where the model is wrong: rank correlation with the true error (Lu et al. 2022).

The question of arXiv 2110.04135, section 4, asked of a user's own model: only the order matters to a penalty, as its
weight sets its size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from offline_mbrl.dynamics.ensemble import Gaussian, draw, pick
from offline_mbrl.dynamics.uncertainty import PENALTIES
from offline_mbrl.simulation.rules import Floats

Z = 1.959964
"""Of a 95 % interval."""


class Correlation(NamedTuple):
    """Spearman's coefficient with a 95 % interval; None where one side does not vary."""

    value: float | None
    low: float | None
    high: float | None


def step_error(mean: Floats, elites: NDArray[np.integer], true: Floats, std: Floats) -> Floats:
    """[B] root mean square over state dimensions of (mean over elites - truth) / std.

    `mean` [N, B, d + 1] and `true` [B, d + 1] hold the reward first, which does not count; `std` is [d].
    """
    error = (mean[elites].mean(axis=0) - true)[:, 1:] / std
    return np.sqrt(np.square(error).mean(axis=-1))


def correlations(own: Gaussian, member: NDArray[np.integer], error: Floats) -> dict[str, Correlation]:
    """Every penalty's rank correlation with `error` [B], where elite `member` [B] was sampled."""
    chosen = jnp.asarray(member, jnp.int32)
    drawn = draw(pick(own, chosen), jax.random.key(0))  # for the penalties that judge a sampled step
    measured = {name: np.asarray(penalty(own, chosen, drawn)) for name, penalty in PENALTIES.items()}
    return {name: rank_correlation(values, error) for name, values in measured.items()}


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> Correlation:
    """Spearman's rho, and Fisher's interval with the variance (1 + rho^2 / 2) / (n - 3) (Bonett and Wright 2000)."""
    if len(one) < 4 or _constant(one) or _constant(other):
        return Correlation(None, None, None)
    rho = float(spearmanr(one, other).statistic)
    bounded = np.clip(rho, -1 + 1e-12, 1 - 1e-12)
    half = Z * np.sqrt((1 + rho**2 / 2) / (len(one) - 3))
    low, high = np.tanh(np.arctanh(bounded) + half * np.array([-1, 1]))
    return Correlation(rho, float(low), float(high))


def _constant(values: NDArray[np.floating]) -> bool:
    """Whether they differ by rounding alone: ranks of rounding errors mean nothing."""
    return bool(np.ptp(values) <= 1e-6 * np.abs(values).max())
