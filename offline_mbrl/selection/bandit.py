"""Choosing by a budget of episodes: a UCB bandit over trained policies (Jackson et al. 2025, arXiv 2504.11453).

K policies are drawn from those at hand; each pull is one episode of the policy with the highest mean + alpha
sqrt(log t / n), and after each the policy with the highest mean so far would be deployed. Pulls draw from episodes that
were played before, so nothing is simulated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.errors import UserError
from offline_mbrl.simulation.rules import Floats


class Bandit(NamedTuple):
    """The protocol; its defaults are the paper's."""

    policies: int = 8  # K, drawn anew for every trial
    pulls: int = 200  # episodes of a trial
    alpha: float = 2.0  # exploration, in the unit of the returns
    trials: int = 1000
    bootstraps: int = 1000  # of the trials, for the interval
    seed: int = 0


class Curve(NamedTuple):
    """The true mean of the policy that would be deployed after 1, 2, ... episodes: [pulls] each."""

    mean: Floats
    low: Floats  # of a 95 % interval of the mean over trials
    high: Floats


def bandit_curve(returns: Sequence[Floats], bandit: Bandit) -> Curve:
    """The curve over policies with stored `returns`, some episodes each; their own mean is a policy's true one.

    Raises:
      UserError: there is no policy, or one has no episodes.
    """
    if not returns or not all(len(one) for one in returns):
        raise UserError("a bandit needs policies with at least one stored episode each")
    generator = np.random.default_rng(bandit.seed)
    deployed = run_trials(returns, bandit, generator)
    true = np.array([np.mean(one) for one in returns])[deployed]
    counts = generator.multinomial(bandit.trials, np.full(bandit.trials, 1 / bandit.trials), bandit.bootstraps)
    low, high = np.quantile(counts @ true / bandit.trials, (0.025, 0.975), axis=0)
    return Curve(true.mean(axis=0), low, high)


def run_trials(returns: Sequence[Floats], bandit: Bandit, generator: np.random.Generator) -> NDArray[np.int64]:
    """[trials, pulls] the policy that each trial would deploy after each pull; trials run side by side."""
    arms = _draw_arms(len(returns), bandit, generator)
    trial, lengths = np.arange(bandit.trials), np.array([len(one) for one in returns])
    table = np.stack([np.resize(one, lengths.max()) for one in returns])
    sums, counts = np.zeros(arms.shape), np.zeros(arms.shape)
    deployed = np.empty((bandit.trials, bandit.pulls), np.int64)
    for pull in range(bandit.pulls):
        arm = upper_bounds(sums, counts, pull + 1, bandit.alpha).argmax(axis=1)
        policy = arms[trial, arm]
        sums[trial, arm] += table[policy, generator.integers(lengths[policy])]
        counts[trial, arm] += 1
        deployed[:, pull] = arms[trial, means(sums, counts, -np.inf).argmax(axis=1)]
    return deployed


def upper_bounds(sums: Floats, counts: Floats, pull: int, alpha: float) -> Floats:
    """mean + alpha sqrt(log t / n) of every arm, infinite for those that were not pulled yet."""
    return means(sums, counts, np.inf) + alpha * np.sqrt(np.log(pull) / np.maximum(counts, 1))


def means(sums: Floats, counts: Floats, unknown: float) -> Floats:
    """The mean of every arm's pulls, `unknown` where there are none."""
    return np.where(counts > 0, sums / np.maximum(counts, 1), unknown)


def _draw_arms(policies: int, bandit: Bandit, generator: np.random.Generator) -> NDArray[np.int64]:
    """[trials, min(K, policies)] different policies for every trial, in random order."""
    order = generator.permuted(np.tile(np.arange(policies), (bandit.trials, 1)), axis=1)
    return order[:, : bandit.policies]
