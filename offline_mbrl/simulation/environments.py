"""A user's own Gymnasium environment as the judge of a policy."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.errors import UserError
from offline_mbrl.simulation.rules import Bools, Floats
from offline_mbrl.simulation.simulator import Step


class Environments:
    """`rows` environments of `make`, stepped one after the other; policies' actions in [-1, 1] are scaled to theirs.

    `make()` returns an environment with Gymnasium's `reset(seed=...)` and `step(action)`, a box of flat observations
    and a bounded box of actions. It ends an episode itself, by a terminal or a truncation.
    """

    def __init__(self, make: Callable[[], Any], rows: int) -> None:
        self._all = [make() for _ in range(rows)]
        low, high = (np.asarray(bound, np.float64) for bound in _bounds(self._all[0]))
        self._center, self._half = (low + high) / 2, (high - low) / 2
        self._obs: Floats = np.zeros((rows, 1))

    def reset(self, seeds: Iterable[int]) -> Floats:
        """Starts an episode in every row; Gymnasium's seeds have 32 bits, so the lower ones are taken."""
        starts = [env.reset(seed=seed % 2**32)[0] for env, seed in zip(self._all, seeds, strict=True)]
        self._obs = np.array([np.ravel(start) for start in starts], np.float64)
        return self._obs.copy()

    def step(self, actions: NDArray[np.floating], active: Bools | None = None) -> Step:
        """One step of the active rows; an action that is not finite ends its row with reward 0."""
        rows = len(self._all)
        chosen = np.ones(rows, np.bool_) if active is None else active
        rewards, terminated, truncated = np.zeros(rows), np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
        for row in np.flatnonzero(chosen).tolist():
            if not np.isfinite(actions[row]).all():
                terminated[row] = True
                continue
            action = (self._center + self._half * np.clip(actions[row], -1, 1)).astype(np.float32)
            obs, rewards[row], terminated[row], truncated[row], _ = self._all[row].step(action)
            self._obs[row] = np.ravel(obs)
        return Step(self._obs.copy(), rewards, terminated, truncated)


def _bounds(environment: Any) -> tuple[Any, Any]:
    space = environment.action_space
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is None or high is None or not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UserError(f"the environment's actions are {space}; a bounded box of continuous actions is needed")
    return low, high
