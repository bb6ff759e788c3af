"""What the systems that train on model rollouts share: a ring of imagined rows, its refresh, and mixed batches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, sample_rows
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig, SACState
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ensemble import Ensemble, EnsembleConfig
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.dynamics.rollout import Model, Policy, Rollout, ensemble_model, flatten, rollout
from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class BranchedConfig(SACConfig):
    """Actor-critic on a mixture of data and imagined rows."""

    horizon: int = Field(5, ge=1, le=1000, description="h, steps of one imagined branch")
    rollout_batch: int = Field(50_000, ge=1, description="b, branches of one refresh")
    rollout_every: int = Field(1000, ge=1, description="F, gradient steps between refreshes")
    retain: int = Field(5, ge=1, description="R, refreshes whose rows are kept")
    real_ratio: float = Field(0.05, ge=0, le=1, description="share of data rows in a batch, rounded down")
    dynamics: EnsembleConfig = Field(EnsembleConfig(), description="the dynamics ensemble")

    @property
    def real_rows(self) -> int:
        """n_real = floor(batch * ratio)."""
        return int(self.batch_size * self.real_ratio)


class BranchedState(struct.PyTreeNode):
    """An actor-critic, the fitted world it imagines in, and what it has imagined."""

    learner: SACState
    ensemble: Ensemble
    imagined: Ring


Target = Callable[[SAC, BranchedState, Transition, Key], tuple[Array, Metrics]]
"""(agent, state, mixed batch [B, ...], key) -> the values y [B] that the critics move toward, without a gradient."""


def empty_ring(config: BranchedConfig, problem: Problem) -> Ring:
    """Room for R refreshes of b * h rows."""
    return ring.empty(config.retain * config.rollout_batch * config.horizon, problem.obs_dim, problem.action_dim)


def branch(config: BranchedConfig, model: Model, policy: Policy, data: Data, key: Key) -> Rollout:
    """Rolls `policy` out from b data states drawn uniformly with replacement."""
    starts = sample_rows(data.transitions, stream(key, "starts"), config.rollout_batch).obs
    return rollout(model, policy, starts, config.horizon, stream(key, "rollout"))


def rollout_metrics(made: Rollout) -> Metrics:
    """Means over the rows that happened, and the extremes of the imagined reward."""
    alive = made.alive
    count = jnp.maximum(alive.sum(), 1)
    return {
        "rollout_alive": alive.mean(),
        "rollout_reward": jnp.where(alive, made.rows.reward, 0.0).sum() / count,
        "rollout_reward_min": jnp.where(alive, made.rows.reward, jnp.inf).min(),
        "rollout_reward_max": jnp.where(alive, made.rows.reward, -jnp.inf).max(),
        "uncertainty": jnp.where(alive, made.uncertainty, 0.0).sum() / count,
    }


def mixed_batch(config: BranchedConfig, imagined: Ring, data: Data, key: Key) -> Transition:
    """floor(ratio * batch) data rows first, imagined rows after them."""
    real = sample_rows(data.transitions, stream(key, "real"), config.real_rows)
    model = ring.sample(imagined, stream(key, "model"), config.batch_size - config.real_rows)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), real, model)


def mean_uncertainty(made: Rollout) -> Array:
    """[h] mean over the live rows of each step."""
    return jnp.where(made.alive, made.uncertainty, 0.0).sum(axis=1) / jnp.maximum(made.alive.sum(axis=1), 1)


def soft_target(agent: SAC, state: BranchedState, batch: Transition, key: Key) -> tuple[Array, Metrics]:
    """SAC's own target."""
    return sac.bellman_target(agent, state.learner, batch, key), {}


def build(problem: Problem, config: BranchedConfig, steps: int, target: Target = soft_target) -> Algorithm:
    """SAC on data rows and unpenalized imagined rows, toward SAC's Bellman target or one of the system's own.

    A system that adds to the state extends `BranchedState` and replaces the functions in which it differs.
    """
    agent = sac.make(problem, config, steps)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> BranchedState:
        assert ensemble is not None, "a model-based system needs a fitted ensemble"
        return BranchedState(sac.init(agent, key), ensemble, empty_ring(config, problem))

    def refresh(state: BranchedState, data: Data, key: Key) -> tuple[BranchedState, Metrics]:
        model = ensemble_model(state.ensemble, problem.terminates)
        policy = lambda obs, key: sac.act(agent, state.learner.actor.params, obs, key, deterministic=False)  # noqa: E731
        made = branch(config, model, policy, data, key)
        imagined = ring.push(state.imagined, *flatten(made))
        return state.replace(imagined=imagined), rollout_metrics(made)

    def sample(state: BranchedState, data: Data, key: Key) -> Transition:
        return mixed_batch(config, state.imagined, data, key)

    def update(state: BranchedState, batch: Transition, key: Key) -> tuple[BranchedState, Metrics]:
        y, metrics = target(agent, state, batch, stream(key, "target"))
        learner, moved = sac.update_toward(agent, state.learner, batch, y, key)
        return state.replace(learner=learner), metrics | moved

    def act(state: BranchedState, obs: Array, key: Key, deterministic: bool) -> Array:
        return sac.act(agent, state.learner.actor.params, obs, key, deterministic)

    return Algorithm(init, sample, update, act, refresh, config.rollout_every)
