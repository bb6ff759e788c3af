"""Makes behavior policies: online SAC on a simulated robot, with a ladder of policy snapshots.

The schedule is rlkit's, which D4RL's own policies were trained with: epochs of 1000 environment steps under a fixed
stochastic policy, each followed by 1000 gradient steps on the replay of everything seen so far.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig, SACState
from offline_mbrl.behavior.plots import collection_curve
from offline_mbrl.behavior.snapshots import snapshot_path
from offline_mbrl.config import Config, describe_first
from offline_mbrl.data.behavior import stochastic
from offline_mbrl.data.builtin.generate import rollout_returns
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn import weights as policies
from offline_mbrl.nn.networks import Params
from offline_mbrl.nn.weights import SavedPolicy
from offline_mbrl.progress import progress
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics, Robot
from offline_mbrl.types import Array, Key, Metrics, Transition

SEEDS = 2**31
"""Seeds are below it, so that what is added to them on the way stays in range."""

Floats = NDArray[np.float32]
Report = Callable[[int, dict[str, float]], None]
"""(epochs done, metrics of the last one)."""


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

    @model_validator(mode="after")
    def _batch_fits(self) -> "CollectConfig":
        if self.sac.batch_size > self.replay_size:
            raise UserError(f"a batch of {self.sac.batch_size} rows is more than the {self.replay_size} that are kept")
        return self


def with_batch_size(batch_size: int) -> CollectConfig:
    """The default settings with batches of `batch_size` rows; `UserError` where that is out of range."""
    try:
        return CollectConfig.model_validate({"sac": CollectConfig().sac.model_dump() | {"batch_size": batch_size}})
    except ValidationError as error:
        raise UserError(describe_first(error, "collect")) from None


class CollectState(struct.PyTreeNode):
    """The learner, its replay, and the epochs done."""

    learner: SACState
    replay: Ring
    epoch: Array


Explore = Callable[[Floats, int], Floats]
"""(obs [envs, d], step number) -> actions [envs, m]."""


class Explorer:
    """Environments that never stop: each row restarts when its episode ends, from the next seed."""

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self._simulator = simulator
        self._seeds = _seed_stream(seed)
        self._obs = simulator.reset([next(self._seeds) for _ in range(simulator.num_envs)])

    def run(self, act: Explore, steps: int) -> Transition:
        """`steps` control steps of every environment under `act`: transitions [steps * envs, ...]."""
        steps_made = [self._step(act(self._obs.astype(np.float32), number)) for number in range(steps)]
        return Transition(
            *(jnp.asarray(np.concatenate(column), jnp.float32) for column in zip(*steps_made, strict=True))
        )

    def _step(self, action: Floats) -> tuple[NDArray[np.floating], ...]:
        obs, step = self._obs, self._simulator.step(action)
        ended = np.flatnonzero(step.terminated | step.truncated)
        restarts = [next(self._seeds) for _ in ended]
        self._obs = self._simulator.reset(restarts, ended) if restarts else step.obs
        return obs, action, step.reward, 1.0 - step.terminated, step.obs


def _seed_stream(seed: int) -> Iterator[int]:
    generator = np.random.default_rng(seed)
    while True:
        yield int(generator.integers(2**31))


def init(agent: SAC, config: CollectConfig, key: Key) -> CollectState:
    """A fresh learner and an empty replay."""
    problem = agent.problem
    replay = ring.empty(config.replay_size, problem.obs_dim, problem.action_dim)
    return CollectState(learner=sac.init(agent, key), replay=replay, epoch=jnp.zeros((), jnp.int32))


def learn(
    agent: SAC, config: CollectConfig, state: CollectState, rows: Transition, key: Key
) -> tuple[CollectState, Metrics]:
    """Stores one epoch's rows and takes `epoch_steps` gradient steps; metrics are means over them."""
    replay = ring.push(state.replay, rows, jnp.ones(rows.reward.shape, bool))

    def step(learner: SACState, step_key: Key) -> tuple[SACState, Metrics]:
        batch = ring.sample(replay, stream(step_key, "batch"), config.sac.batch_size)
        return sac.update(agent, learner, batch, stream(step_key, "update"))

    learner, metrics = jax.lax.scan(step, state.learner, jax.random.split(key, config.epoch_steps))
    return CollectState(learner, replay, state.epoch + 1), jax.tree.map(jnp.mean, metrics)


def collect(
    robot: Robot,
    out: Path,
    epochs: int,
    *,
    seed: int = 0,
    physics: Physics = DEFAULT_PHYSICS,
    config: CollectConfig | None = None,
    report: Report = lambda epoch, metrics: None,
) -> None:
    """Trains up to `epochs` epochs in all and writes `out/snapshots/<steps>.npz` every `snapshot_epochs`.

    A stopped run goes on from its last checkpoint under `out/checkpoints`; the environments begin new episodes then, so
    a resumed run is as valid as, but not the same as, one that was never stopped. `report` is called after every epoch.

    Raises:
      UserError: the seed or the number of epochs is out of range.
    """
    if not 0 <= seed < SEEDS or epochs < 1:
        raise UserError(f"collecting takes a seed from 0 to {SEEDS - 1} and at least 1 epoch, not {seed} and {epochs}")
    config = config or CollectConfig()
    agent = sac.make(problem_of(robot), config.sac, epochs * config.epoch_steps)
    key = jax.random.key(seed)
    learn_epoch = jax.jit(partial(learn, agent, config), donate_argnums=0)
    sample = jax.jit(partial(sac.act, agent, deterministic=False))
    state = jax.jit(partial(init, agent, config))(stream(key, "init"))
    checkpoints = Checkpoints(out / "checkpoints")
    if (done := checkpoints.latest_step()) is not None:
        state = checkpoints.restore(done, state)
    explorer = Explorer(Simulator(robot, config.envs, physics), seed + (done or 0))

    for epoch in range(done or 0, epochs):
        epoch_key = jax.random.fold_in(key, epoch)
        act = _explore(sample, state.learner.actor.params, stream(epoch_key, "explore"))
        rows = (
            explorer.run(act, config.epoch_steps // config.envs) if epoch else _warm_up(explorer, robot, config, seed)
        )
        state, metrics = learn_epoch(state, rows, stream(epoch_key, "learn"))
        named = {name: float(value) for name, value in metrics.items()}
        if (epoch + 1) % config.snapshot_epochs == 0:
            actor = jax.device_get(state.learner.actor.params)
            returns = rollout_returns(robot, stochastic(actor), config.snapshot_episodes, seed=epoch, physics=physics)
            policies.save(
                snapshot_path(out / "snapshots", (epoch + 1) * config.epoch_steps), SavedPolicy(actor, returns)
            )
            checkpoints.save(epoch + 1, state)
            named["score"] = float(robot.normalized_score(returns).mean())
        report(epoch + 1, named)
    checkpoints.close()


def collect_with_progress(robot: Robot, out: Path, epochs: int, **settings: Any) -> None:
    """`collect` with a progress bar, and with its learning curve in `out/curve.png` at the end."""
    latest = {"score": float("nan")}
    with progress(f"collect {robot.name}", epochs) as tick:

        def report(epoch: int, metrics: dict[str, float]) -> None:
            latest.update(metrics)
            tick(epoch, f"score {latest['score']:.1f}, alpha {latest['alpha']:.3f}")

        collect(robot, out, epochs, report=report, **settings)
    collection_curve(robot, out / "snapshots", out / "curve.png")


def _explore(sample: Callable[..., Array], actor: Params, key: Key) -> Explore:
    """The stochastic policy with the weights `actor`."""
    return lambda obs, number: np.asarray(sample(actor, obs, jax.random.fold_in(key, number)))


def _warm_up(explorer: Explorer, robot: Robot, config: CollectConfig, seed: int) -> Transition:
    """The first epoch's rows: `warmup_steps` of uniform actions."""
    generator = np.random.default_rng(seed)

    def act(obs: Floats, number: int) -> Floats:
        return generator.uniform(-1, 1, (len(obs), robot.action_dim)).astype(np.float32)

    return explorer.run(act, config.warmup_steps // config.envs)
