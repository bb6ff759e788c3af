"""Makes behaviour policies: online SAC on a simulated robot, with a ladder of policy snapshots.

The schedule is rlkit's, which D4RL's own policies were trained with: epochs of 1000 environment steps under a fixed
stochastic policy, each followed by 1000 gradient steps on the replay of everything seen so far.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms import sac
from offline_mbrl.algorithms.sac import SAC, SACConfig, SACState
from offline_mbrl.config import Config
from offline_mbrl.data import policies
from offline_mbrl.data.policies import Policy
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.evaluation.simulator import Simulator
from offline_mbrl.keys import stream
from offline_mbrl.tasks import Physics, Robot
from offline_mbrl.training.checkpoint import Checkpoints
from offline_mbrl.types import Array, Key, Metrics, Problem, Transition


class CollectConfig(Config):
    """Online SAC as rlkit runs it (constant rates, alpha not clamped)."""

    sac: SACConfig = SACConfig(
        actor_lr=3e-4, critic_lr=3e-4, temperature_lr=3e-4, actor_lr_decay=False, temperature_max=None
    )
    epoch_steps: int = Field(1000, ge=1, description="environment steps, and gradient steps, of one epoch")
    warmup_steps: int = Field(5000, ge=1, description="steps of uniform random actions before learning starts")
    envs: int = Field(10, ge=1, description="environments stepped side by side")
    replay_size: int = Field(1_000_000, ge=1, description="transitions kept")
    snapshot_epochs: int = Field(10, ge=1, description="epochs between policy snapshots")
    snapshot_episodes: int = Field(10, ge=1, description="stochastic episodes that score a snapshot")


class CollectState(struct.PyTreeNode):
    """The learner, its replay, and the epochs done."""

    learner: SACState
    replay: Ring
    epoch: Array


class Explorer:
    """Environments that never stop: each row restarts when its episode ends, from the next seed."""

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self.simulator = simulator
        self._seeds = self._stream(seed)
        self.obs = simulator.reset([next(self._seeds) for _ in range(simulator.num_envs)])

    @staticmethod
    def _stream(seed: int) -> Iterator[int]:
        generator = np.random.default_rng(seed)
        while True:
            yield int(generator.integers(2**31))

    def run(self, act: Callable[[np.ndarray, int], np.ndarray], steps: int) -> Transition:
        """`steps` control steps of every environment under `act(obs, t)`: rows [steps * envs, ...], float32."""
        rows = [self._step(act(self.obs.astype(np.float32), t)) for t in range(steps)]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves).astype(np.float32), *rows)

    def _step(self, action: np.ndarray) -> Transition:
        obs, step = self.obs, self.simulator.step(action)
        ended = np.flatnonzero(step.terminated | step.truncated)
        self.obs = self.simulator.reset([next(self._seeds) for _ in ended], ended) if len(ended) else step.obs
        return Transition(obs, action, step.reward, 1.0 - step.terminated, step.obs)


def init(system: SAC, config: CollectConfig, key: Key) -> CollectState:
    """A fresh learner and an empty replay."""
    problem = system.problem
    replay = ring.empty(config.replay_size, problem.obs_dim, problem.action_dim)
    return CollectState(learner=sac.init(system, key), replay=replay, epoch=jnp.zeros((), jnp.int32))


def learn(
    system: SAC, config: CollectConfig, state: CollectState, rows: Transition, key: Key
) -> tuple[CollectState, Metrics]:
    """Stores one epoch's rows and takes `epoch_steps` gradient steps; metrics are means over them."""
    replay = ring.push(state.replay, rows, jnp.ones(rows.reward.shape, bool))

    def step(learner: SACState, step_key: Key) -> tuple[SACState, Metrics]:
        batch = ring.sample(replay, stream(step_key, "batch"), config.sac.batch_size)
        return sac.update(system, learner, batch, stream(step_key, "update"))

    learner, metrics = jax.lax.scan(step, state.learner, jax.random.split(key, config.epoch_steps))
    return CollectState(learner, replay, state.epoch + 1), jax.tree.map(jnp.mean, metrics)


def collect(
    robot: Robot,
    out: Path,
    epochs: int,
    *,
    seed: int = 0,
    physics: Physics = "d4rl-v2",
    config: CollectConfig | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
) -> None:
    """Trains up to `epochs` epochs in all and writes `out/snapshots/<steps>.npz` every `snapshot_epochs`.

    A stopped run goes on from its last checkpoint under `out/checkpoints`; the environments begin new episodes then, so
    a resumed run is as valid as, but not the same as, one that was never stopped.
    """
    config = config or CollectConfig()
    system = sac.make(Problem(robot.obs_dim, robot.action_dim, lambda obs: obs[..., 0] != obs[..., 0]), config.sac, steps=1)
    key = jax.random.key(seed)
    learn_epoch = jax.jit(partial(learn, system, config), donate_argnums=0)
    sample = jax.jit(partial(sac.act, system, deterministic=False))
    state = jax.jit(partial(init, system, config))(stream(key, "init"))
    checkpoints = Checkpoints(out / "checkpoints")
    if (step := checkpoints.latest_step()) is not None:
        state = checkpoints.restore(step, state)
    explorer = Explorer(Simulator(robot, config.envs, physics), seed=seed + int(state.epoch))
    scorer = Simulator(robot, config.snapshot_episodes, physics)

    for epoch in range(int(state.epoch), epochs):
        epoch_key = jax.random.fold_in(key, epoch)
        if epoch == 0:
            uniform = np.random.default_rng(seed)
            rows = explorer.run(
                lambda obs, t: uniform.uniform(-1, 1, (len(obs), robot.action_dim)), config.warmup_steps // config.envs
            )
        else:
            act = _stochastic(sample, state.learner.actor.params, stream(epoch_key, "explore"))
            rows = explorer.run(act, config.epoch_steps // config.envs)
        state, metrics = learn_epoch(state, rows, stream(epoch_key, "learn"))
        named = {name: float(value) for name, value in metrics.items()}
        if (epoch + 1) % config.snapshot_epochs == 0:
            act = _stochastic(sample, state.learner.actor.params, stream(epoch_key, "score"))
            returns = _score(scorer, act, np.random.SeedSequence([seed, epoch]))
            policies.save(out / "snapshots" / f"{(epoch + 1) * config.epoch_steps:08d}.npz", Policy(jax.device_get(state.learner.actor.params), returns))
            checkpoints.save(epoch + 1, state)
            named["score"] = float(robot.normalized_score(returns).mean())
        report(epoch + 1, named)


def _stochastic(sample, actor, key):
    return lambda obs, t: np.asarray(sample(actor, obs, jax.random.fold_in(key, t)))


def _score(simulator, act, seeds):
    obs = simulator.reset([int(s) for s in seeds.generate_state(simulator.num_envs)])
    active = np.ones(simulator.num_envs, bool)
    total = np.zeros(simulator.num_envs)
    t = 0
    while active.any():
        step = simulator.step(act(obs.astype(np.float32), t), active)
        total += step.reward * active
        active &= ~(step.terminated | step.truncated)
        obs = step.obs
        t += 1
    return total
