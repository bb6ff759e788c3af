"""Rows of a behavior policy in the simulator, many episodes side by side.

Episode i has its own start and its own action noise, and the rows are those of episodes 0, 1, 2, ... laid end to end,
as one endless run of one environment would give them. Taking the first episodes to *finish* instead would
over-represent short ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

from offline_mbrl.data.behavior import Behavior
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics, Robot

Report = Callable[[int], None]
"""Is told how many rows are there."""


def environments(rows: int) -> int:
    """Episodes stepped side by side: fewer for few rows, of which the unfinished ones at the end waste more."""
    return 64 if rows >= 50_000 else 16


class Rows(NamedTuple):
    """n logged steps, as float32; fields are named as D4RL names them."""

    observations: NDArray[np.float32]  # [n, obs_dim]
    actions: NDArray[np.float32]  # [n, action_dim]
    rewards: NDArray[np.float32]  # [n]
    next_observations: NDArray[np.float32]  # [n, obs_dim]
    terminals: NDArray[np.bool_]  # [n]
    timeouts: NDArray[np.bool_]  # [n]


def join(parts: list[Rows], size: int) -> Rows:
    """The first `size` rows of `parts` laid end to end."""
    columns = zip(*parts, strict=True)
    return Rows._make(np.concatenate(column)[:size] for column in columns)


def generate(
    robot: Robot,
    behavior: Behavior,
    rows: int,
    seed: int,
    physics: Physics = DEFAULT_PHYSICS,
    *,
    cut: bool = True,
    report: Report = lambda done: None,
) -> Rows:
    """The first `rows` steps of endless episodes of `behavior`; the last one is cut there, or ends first without `cut`.

    The same on any number of threads, and the beginning of what more `rows` would be. `report` is told at every step
    how many are there.
    """
    runner = _Runner(robot, behavior, rows, seed, physics)
    runner.run(report)
    return runner.rows(cut)


def rollout_returns(
    robot: Robot, behavior: Behavior, episodes: int, seed: int, physics: Physics = DEFAULT_PHYSICS
) -> NDArray[np.float64]:
    """[episodes] undiscounted returns of `behavior`."""
    runner = _Runner(robot, behavior, episodes * robot.horizon, seed, physics, episodes)
    runner.run()
    return np.array([np.sum(episode.rewards, dtype=np.float64) for episode in runner.first(episodes)])


class _Runner:
    """Steps the running episodes and puts the next one into every row that falls free."""

    def __init__(
        self, robot: Robot, behavior: Behavior, rows: int, seed: int, physics: Physics, episodes: int | None = None
    ) -> None:
        envs = min(environments(rows), episodes or rows)
        self._wanted, self._limit, self._seed = rows, episodes, seed
        self._behavior, self._horizon = behavior, robot.horizon
        self._simulator = Simulator(robot, envs, physics)
        self._running = np.arange(envs)  # the episode in each row, -1 for none
        self._elapsed = np.zeros(envs, np.int64)
        self._started, self._produced = envs, 0
        self._finished: dict[int, Rows] = {}
        self._log = _Log(robot, envs)
        self._noise = np.empty((envs, robot.horizon, robot.action_dim))
        self._obs: NDArray[np.float32]  # [envs, obs_dim]
        self._begin(list(range(envs)))

    def run(self, report: Report = lambda done: None) -> None:
        """Steps until the wanted rows are there."""
        while self._step():
            report(min(self._produced, self._wanted))

    def _step(self) -> bool:
        """One control step of every running episode; False when the wanted rows are there."""
        active = self._running >= 0
        action = self._behavior.act(self._obs, self._noise[np.arange(len(active)), self._elapsed])
        step = self._simulator.step(action, active)
        next_obs = step.obs.astype(np.float32)
        self._log.write(self._elapsed, self._obs, action, step.reward, next_obs)
        self._elapsed += active
        self._produced += int(active.sum())
        self._obs = next_obs
        ended = np.flatnonzero(step.terminated | step.truncated)
        for row in ended.tolist():
            rows = self._log.read(row, int(self._elapsed[row]), bool(step.terminated[row]))
            self._finished[int(self._running[row])] = rows
        self._refill(ended.tolist())
        self._drop_surplus()
        return bool((self._running >= 0).any())

    def first(self, episodes: int) -> list[Rows]:
        """The first `episodes` episodes."""
        return [self._finished[episode] for episode in range(episodes)]

    def rows(self, cut: bool) -> Rows:
        """The finished episodes in order up to the wanted number of rows."""
        episodes: list[Rows] = []
        total = 0
        while total < self._wanted:
            episodes.append(self._finished[len(episodes)])
            total += len(episodes[-1].rewards)
        return join(episodes, self._wanted if cut else total)

    def _refill(self, rows: list[int]) -> None:
        """Start the next episodes in `rows`, or leave them empty when enough are under way."""
        for row in rows:
            more = self._produced < self._wanted and self._started != self._limit
            self._running[row], self._elapsed[row] = (self._started if more else -1), 0
            self._started += more
        self._begin([row for row in rows if self._running[row] >= 0])

    def _begin(self, rows: list[int]) -> None:
        """Reset `rows` to the starts of their episodes and draw all the noise of these."""
        if not rows:
            return
        seeds = [SeedSequence((self._seed, int(self._running[row]))) for row in rows]
        starts = [int(seed.generate_state(1, np.uint64)[0]) for seed in seeds]
        self._obs = self._simulator.reset(starts, rows).astype(np.float32)
        for row, seed in zip(rows, seeds, strict=True):
            self._noise[row] = self._behavior.draw(Generator(Philox(seed.spawn(1)[0])), self._horizon)

    def _drop_surplus(self) -> None:
        """Stop the episodes that come after the wanted rows even if those before them ended now."""
        if self._produced < self._wanted or self._limit is not None:
            return
        lengths = np.zeros(self._started, np.int64)
        for episode, rows in self._finished.items():
            lengths[episode] = len(rows.rewards)
        active = self._running >= 0
        lengths[self._running[active]] = self._elapsed[active]
        before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        surplus = active & (before[self._running] >= self._wanted)
        self._running[surplus] = -1


class _Log:
    """What the running episode of every row did so far."""

    def __init__(self, robot: Robot, envs: int) -> None:
        shape = (envs, robot.horizon)
        self._obs = np.empty((*shape, robot.obs_dim), np.float32)
        self._action = np.empty((*shape, robot.action_dim), np.float32)
        self._reward = np.empty(shape, np.float32)
        self._next_obs = np.empty_like(self._obs)
        self._rows = np.arange(envs)

    def write(
        self,
        elapsed: NDArray[np.int64],
        obs: NDArray[np.float32],
        action: NDArray[np.float32],
        reward: NDArray[np.float64],
        next_obs: NDArray[np.float32],
    ) -> None:
        """Step number `elapsed` [envs] of every row."""
        self._obs[self._rows, elapsed] = obs
        self._action[self._rows, elapsed] = action
        self._reward[self._rows, elapsed] = reward
        self._next_obs[self._rows, elapsed] = next_obs

    def read(self, row: int, length: int, terminated: bool) -> Rows:
        """The episode in `row`, which has just ended; a time-out unless it fell."""
        last = np.arange(length) == length - 1
        return Rows(
            observations=self._obs[row, :length].copy(),
            actions=self._action[row, :length].copy(),
            rewards=self._reward[row, :length].copy(),
            next_observations=self._next_obs[row, :length].copy(),
            terminals=last & terminated,
            timeouts=last & (not terminated),
        )
