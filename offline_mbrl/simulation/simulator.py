"""Many copies of one robot stepped together in MuJoCo, over several threads."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.machine import available_cores
from offline_mbrl.simulation.physics import load_model
from offline_mbrl.simulation.rules import RULES, Bools, Floats, observe, reward
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics, Robot

Rows = Sequence[int] | NDArray[np.integer]


class Step(NamedTuple):
    """What one control step gave, a row per environment; rows not stepped hold (same obs, 0, False, False)."""

    obs: Floats  # [num_envs, obs_dim] true next observations, float64
    reward: Floats  # [num_envs]
    terminated: Bools  # [num_envs] the robot fell: discount 0
    truncated: Bools  # [num_envs] the time limit was reached: not a terminal


class _Body(NamedTuple):
    """One row: MuJoCo's data and the views that carry its action in and its state out, made once."""

    model: mujoco.MjModel
    data: mujoco.MjData
    ctrl: Floats
    qpos: Floats
    qvel: Floats
    action_row: Floats
    qpos_row: Floats
    qvel_row: Floats


class Simulator:
    """`num_envs` independent robots; a row's results depend on its own seed and actions only.

    A restarted row is not told apart from a fresh one, and no row restarts by itself: callers restart the rows that
    ended (`reset(seeds, rows)`) or stop stepping them (`step(actions, active)`). Arrays that are returned are the
    caller's to keep. One simulator serves any number of episodes, but one caller at a time.

    Observations and rewards are float64, as Gymnasium's are. `model` replaces the model that `physics` names (perturbed
    gravity, friction or mass) in all rows or, where there is one for each, row by row; they share the time step.
    `datas` is there for renderers. `threads` defaults to the cores this process may use; results do not depend on it.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        physics: Physics = DEFAULT_PHYSICS,
        *,
        model: mujoco.MjModel | Sequence[mujoco.MjModel] | None = None,
        threads: int | None = None,
    ) -> None:
        self.robot, self.num_envs = robot, num_envs
        models = _one_for_each(load_model(robot, physics) if model is None else model, num_envs)
        self.model = models[0]
        self.threads = max(1, min(threads or available_cores(), num_envs))
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        self._rules = RULES[robot.name]
        self._dt = self.model.opt.timestep * robot.frame_skip
        self._elapsed = np.zeros(num_envs, np.int64)
        self._action = np.zeros((num_envs, self.model.nu))
        self._qpos = np.tile(self.model.qpos0, (num_envs, 1))
        self._qvel = np.zeros((num_envs, self.model.nv))
        self._bodies = [self._make_body(row, own) for row, own in enumerate(models)]

    @property
    def datas(self) -> list[mujoco.MjData]:
        """MuJoCo's data, one per row."""
        return [body.data for body in self._bodies]

    @property
    def qpos(self) -> Floats:
        """[num_envs, nq] generalized positions, a copy."""
        return self._qpos.copy()

    @property
    def qvel(self) -> Floats:
        """[num_envs, nv] generalized velocities, unclipped, a copy."""
        return self._qvel.copy()

    @property
    def obs(self) -> Floats:
        """[num_envs, obs_dim] current observations."""
        return observe(self._rules, self._qpos, self._qvel)

    def reset(self, seeds: Iterable[int], rows: Rows | None = None) -> Floats:
        """Start an episode in `rows` (all when None), one seed each; returns [num_envs, obs_dim], every row's obs.

        A start equals `gymnasium.make(...).reset(seed=seed)` of the robot's v4 environment.
        """
        for row, seed in zip(self._rows(rows), seeds, strict=True):
            self._place(row, *self._start(int(seed)))
        return self.obs

    def set_state(self, qpos: Floats, qvel: Floats, rows: Rows | None = None) -> Floats:
        """Put `rows` (all when None) into states [len(rows), nq], [len(rows), nv] at time 0, forgetting their past."""
        for row, position, velocity in zip(self._rows(rows), qpos, qvel, strict=True):
            self._place(row, position, velocity)
        return self.obs

    def step(self, actions: NDArray[np.floating], active: Bools | None = None) -> Step:
        """Apply actions [num_envs, action_dim] for one control step to the rows where `active` (all when None).

        A row whose action is not finite does not move: it ends there, terminated, with reward 0; the others go on.
        """
        active = np.ones(self.num_envs, np.bool_) if active is None else active
        moving = active & np.isfinite(actions).all(-1)
        self._action[:] = actions
        x = self._qpos[:, 0].copy()
        self._advance(np.flatnonzero(moving).tolist())
        self._elapsed += active
        rewards = np.zeros(self.num_envs)
        rewards[moving] = reward(self._rules, (self._qpos[:, 0] - x) / self._dt, actions)[moving]
        terminated = active & ~(moving & self._rules.healthy(self._qpos, self._qvel))
        return Step(self.obs, rewards, terminated, active & (self._elapsed >= self.robot.horizon))

    def _advance(self, rows: list[int]) -> None:
        """Step `rows`, each taken by the thread that is free: an even split would wait for the slowest core."""
        queue = iter(rows)
        helpers = min(self.threads, len(rows)) - 1
        others = [self._pool.submit(self._drain, queue) for _ in range(helpers)] if self._pool else []
        self._drain(queue)
        for other in others:
            other.result()

    def _drain(self, rows: Iterator[int]) -> None:
        # `mj_step` releases the GIL; what else is done per row bounds how far threads scale. `next` holds the GIL.
        step, frames, bodies = mujoco.mj_step, self.robot.frame_skip, self._bodies
        for row in rows:
            model, data, ctrl, qpos, qvel, action_row, qpos_row, qvel_row = bodies[row]
            ctrl[:] = action_row
            step(model, data, frames)
            qpos_row[:] = qpos
            qvel_row[:] = qvel

    def _place(self, row: int, qpos: Floats, qvel: Floats) -> None:
        body = self._bodies[row]
        mujoco.mj_resetData(body.model, body.data)
        body.qpos[:] = body.qpos_row[:] = qpos
        body.qvel[:] = body.qvel_row[:] = qvel
        mujoco.mj_forward(body.model, body.data)
        self._elapsed[row] = 0

    def _rows(self, rows: Rows | None) -> Iterable[int]:
        return range(self.num_envs) if rows is None else (int(row) for row in rows)

    def _make_body(self, row: int, model: mujoco.MjModel) -> _Body:
        data = mujoco.MjData(model)
        return _Body(model, data, data.ctrl, data.qpos, data.qvel, self._action[row], self._qpos[row], self._qvel[row])

    def _start(self, seed: int) -> tuple[Floats, Floats]:
        qpos, qvel = self._rules.noise(np.random.default_rng(seed), self.model.nq, self.model.nv)
        return self.model.qpos0 + qpos, qvel


def _one_for_each(model: mujoco.MjModel | Sequence[mujoco.MjModel], rows: int) -> list[mujoco.MjModel]:
    models = [model] * rows if isinstance(model, mujoco.MjModel) else list(model)
    if len(models) != rows:
        raise ValueError(f"{len(models)} models for {rows} rows")
    return models
