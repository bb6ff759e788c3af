"""Undiscounted returns of many policies at once: every seed and episode is a row of one simulator."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_mbrl.simulation.rules import Bools, Floats
from offline_mbrl.simulation.simulator import Step


class Judge(Protocol):
    """What episodes are run in: environments stepped side by side, as `Simulator` does."""

    def reset(self, seeds: Iterable[int]) -> Floats:
        """Starts an episode in every row, one seed each; [rows, obs_dim] observations."""

    def step(self, actions: NDArray[np.floating], active: Bools | None = None) -> Step:
        """Applies actions [rows, action_dim] for one control step where `active`."""


Policy = Callable[[NDArray[np.float32]], ArrayLike]
"""Observations [S, E, obs_dim] float32 -> actions [S, E, action_dim]; one call a control step, always of this shape."""


class Evaluation(NamedTuple):
    """Whole episodes of S seeds, E each."""

    returns: NDArray[np.float64]  # [S, E] undiscounted sums of rewards
    lengths: NDArray[np.int64]  # [S, E] control steps


def evaluate(policy: Policy, judge: Judge, seeds: NDArray[np.integer]) -> Evaluation:
    """Run one episode from each reset seed [S, E] in a judge of S * E rows, which can be used again afterwards.

    Rows that have ended are not stepped; the policy still sees their last observations. An action that is not finite
    ends its episode (`Simulator.step`), so a diverged policy has a low return and does not disturb the other seeds.
    """
    obs = judge.reset(seeds.ravel().tolist())
    active = np.ones(seeds.size, np.bool_)
    returns, lengths = np.zeros(seeds.size), np.zeros(seeds.size, np.int64)
    while active.any():
        actions = np.asarray(policy(obs.astype(np.float32).reshape(*seeds.shape, -1)), np.float32)
        step = judge.step(actions.reshape(seeds.size, -1), active)
        returns += step.reward
        lengths += active
        active &= ~(step.terminated | step.truncated)
        obs = step.obs
    return Evaluation(returns.reshape(seeds.shape), lengths.reshape(seeds.shape))


def reset_seeds(seeds: Sequence[int], step: int, episodes: int) -> NDArray[np.uint64]:
    """[len(seeds), episodes] reset seeds, each a hash of (seed, step, episode) alone.

    So a seed meets the same starts whichever seeds it is trained beside, and other ones at every evaluation step.
    """
    states = [np.random.SeedSequence((seed, step, episode)) for seed in seeds for episode in range(episodes)]
    return np.array([state.generate_state(1, np.uint64)[0] for state in states]).reshape(len(seeds), episodes)
