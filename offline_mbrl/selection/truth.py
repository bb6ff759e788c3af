"""What policies are worth in the simulator: undiscounted returns, and the discounted ones that estimates estimate."""

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.selection.candidates import Policies
from offline_mbrl.simulation.evaluate import Judge, evaluate, reset_seeds
from offline_mbrl.simulation.rules import Bools, Floats
from offline_mbrl.simulation.simulator import Simulator, Step


class Worth(NamedTuple):
    """Whole episodes of S policies, E each."""

    returns: Floats  # [S, E]
    discounted: Floats  # [S, E]


class Discounting:
    """A judge that also sums gamma^t r of every row."""

    def __init__(self, judge: Judge, discount: float) -> None:
        self._judge, self._discount, self._weight = judge, discount, 1.0
        self.values: Floats = np.zeros(0)

    def reset(self, seeds: Iterable[int]) -> Floats:
        obs = self._judge.reset(seeds)
        self._weight, self.values = 1.0, np.zeros(len(obs))
        return obs

    def step(self, actions: NDArray[np.floating], active: Bools | None = None) -> Step:
        step = self._judge.step(actions, active)
        self.values += self._weight * step.reward
        self._weight *= self._discount
        return step


def worth(policies: Policies, episodes: int, discount: float, seed: int) -> Worth:
    """Episodes of every policy; all candidates of one seed number meet the same starts."""
    simulator = Simulator(policies.system.task.robot, len(policies.seeds) * episodes, policies.job.physics)
    judge = Discounting(simulator, discount)
    starts = reset_seeds(policies.seeds, 2**31 + seed, episodes)
    played = evaluate(lambda obs: policies.act(jnp.asarray(obs)), judge, starts)
    return Worth(played.returns, judge.values.reshape(played.returns.shape))
