"""What the systems that train on model rollouts share: a ring of imagined rows, its refresh, and mixed batches."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import struct
from pydantic import Field, SerializeAsAny, field_validator

from offline_mbrl.algorithms.algorithm import Algorithm, Pretrained, sample_rows
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig, SACState
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.dynamics.registry import as_kind, pretraining_of
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.dynamics.rollout import ActionSampler, Model, Rollout, ensemble_model, flatten, rollout
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import Params
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class BranchedConfig(SACConfig):
    """Actor-critic on a mixture of data and imagined rows."""

    horizon: int = Field(5, ge=1, le=1000, description="h, steps of one imagined branch")
    rollout_batch: int = Field(50_000, ge=1, description="b, branches of one refresh")
    rollout_every: int = Field(1000, ge=1, description="F, gradient steps between refreshes")
    retain: int = Field(5, ge=1, description="R, refreshes whose rows are kept")
    real_ratio: float = Field(0.05, ge=0, le=1, description="share of data rows in a batch, rounded down")
    dynamics: SerializeAsAny[EnsembleConfig] = Field(GaussianConfig(), description="the dynamics ensemble")

    @field_validator("dynamics", mode="before")
    @classmethod
    def _of_its_kind(cls, value: object) -> object:
        return as_kind(value, cls.model_fields["dynamics"].default)

    @property
    def real_rows(self) -> int:
        """n_real = floor(batch * ratio)."""
        return int(self.batch_size * self.real_ratio)


class BranchedState(struct.PyTreeNode):
    """An actor-critic, the fitted world it imagines in, and what it has imagined."""

    learner: SACState
    ensemble: Ensemble
    imagined: Ring


State = TypeVar("State", bound=BranchedState)

Target = Callable[[SAC, BranchedState, Transition, Key], tuple[Array, Metrics]]
"""(agent, state, mixed batch [B, ...], key) -> the values y [B] that the critics move toward, without a gradient."""


def empty_ring(config: BranchedConfig, problem: Problem) -> Ring:
    """Room for R refreshes of b * h rows."""
    return ring.empty(config.retain * config.rollout_batch * config.horizon, problem.obs_dim, problem.action_dim)


def branch(config: BranchedConfig, model: Model, policy: ActionSampler, data: Data, key: Key) -> Rollout:
    """Rolls `policy` out from b data states drawn uniformly with replacement."""
    starts = sample_rows(data, stream(key, "starts"), config.rollout_batch).obs
    return rollout(model, policy, starts, config.horizon, stream(key, "rollout"))


def policy_of(agent: SAC, state: BranchedState) -> ActionSampler:
    """The stochastic policy of a state, as rollouts ask for it."""
    return partial(_sample, agent, state.learner.actor.params)


def keep(state: State, rollout: Rollout) -> tuple[State, Metrics]:
    """The rollout's live rows in the ring, and what a curve should show of them."""
    return state.replace(imagined=ring.push(state.imagined, *flatten(rollout))), rollout_metrics(rollout)


def rollout_metrics(rollout: Rollout) -> Metrics:
    """Means over the rows that happened, and the extremes of the imagined reward."""
    alive = rollout.alive
    count = jnp.maximum(alive.sum(), 1)
    return {
        "rollout_alive": alive.mean(),
        "rollout_reward": jnp.where(alive, rollout.rows.reward, 0.0).sum() / count,
        "rollout_reward_min": jnp.where(alive, rollout.rows.reward, jnp.inf).min(),
        "rollout_reward_max": jnp.where(alive, rollout.rows.reward, -jnp.inf).max(),
        "uncertainty": jnp.where(alive, rollout.uncertainty, 0.0).sum() / count,
    }


def mixed_batch(config: BranchedConfig, imagined: Ring, data: Data, key: Key) -> Transition:
    """floor(ratio * batch) data rows first, imagined rows after them."""
    real = sample_rows(data, stream(key, "real"), config.real_rows)
    model = ring.sample(imagined, stream(key, "model"), config.batch_size - config.real_rows)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), real, model)


def model_rows(config: BranchedConfig, batch: Transition) -> Transition:
    """The imagined rows of a mixed batch."""
    return jax.tree.map(lambda leaf: leaf[config.real_rows :], batch)


def mean_uncertainty(rollout: Rollout) -> Array:
    """[h] mean over the live rows of each step."""
    live = jnp.maximum(rollout.alive.sum(axis=1), 1)
    return jnp.where(rollout.alive, rollout.uncertainty, 0.0).sum(axis=1) / live


def soft_target(agent: SAC, state: BranchedState, batch: Transition, key: Key) -> tuple[Array, Metrics]:
    """SAC's own target."""
    return sac.bellman_target(agent, state.learner, batch, key), {}


def dynamics(problem: Problem, config: Any, steps: int) -> Mapping[str, Pretraining]:
    """What these systems fit before their loop: the world model."""
    return {"dynamics": pretraining_of(config.dynamics, problem.obs_dim, problem.action_dim)}


def extend(kind: Callable[..., State], state: BranchedState, **own: Any) -> State:
    """A state of `kind`, a `BranchedState` with fields of its own, from `state` and those."""
    return kind(**{field.name: getattr(state, field.name) for field in fields(state)} | own)


def init(config: BranchedConfig, agent: SAC, key: Key, data: Data, pretrained: Pretrained) -> BranchedState:
    """Fresh networks, the fitted world, and nothing imagined yet."""
    return BranchedState(sac.init(agent, key), pretrained["dynamics"].ensemble, empty_ring(config, agent.problem))


def refresh(
    config: BranchedConfig, agent: SAC, state: BranchedState, data: Data, key: Key
) -> tuple[BranchedState, Metrics]:
    """Rows of the world as it was fitted, without a penalty."""
    model = ensemble_model(state.ensemble, agent.problem.terminates)
    return keep(state, branch(config, model, policy_of(agent, state), data, key))


def sample(config: BranchedConfig, state: BranchedState, data: Data, key: Key) -> Transition:
    """A mixed batch."""
    return mixed_batch(config, state.imagined, data, key)


def update(
    agent: SAC, target: Target, state: BranchedState, batch: Transition, key: Key
) -> tuple[BranchedState, Metrics]:
    """One step of the actor-critic toward `target`."""
    y, metrics = target(agent, state, batch, stream(key, "target"))
    learner, learner_metrics = sac.update_toward(agent, state.learner, batch, y, key)
    return state.replace(learner=learner), metrics | learner_metrics


def conclude(state: State) -> State:
    """The state without its imagined rows, which only training reads: most of its bytes."""
    return state.replace(imagined=ring.emptied(state.imagined))


def act(agent: SAC, state: BranchedState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The actor's action."""
    return sac.act(agent, state.learner.actor.params, obs, key, deterministic)


def value(agent: SAC, state: BranchedState, obs: Array, action: Array) -> Array:
    """min_k Q_k(s, a)."""
    return sac.q_values(agent, state.learner.critic.params, obs, action).min(axis=0)


def law(agent: SAC, state: BranchedState, obs: Array) -> tuple[Array, Array]:
    """The actor's Gaussian."""
    return sac.policy_parameters(agent, state.learner.actor.params, obs)


def build(problem: Problem, config: BranchedConfig, steps: int, target: Target = soft_target) -> Algorithm:
    """SAC on data rows and unpenalized imagined rows, toward SAC's Bellman target or one of the system's own.

    A system that adds to the state extends `BranchedState` and replaces the functions in which it differs.
    """
    agent = sac.make(problem, config, steps)
    return Algorithm(
        init=partial(init, config, agent),
        sample=partial(sample, config),
        update=partial(update, agent, target),
        act=partial(act, agent),
        refresh=partial(refresh, config, agent),
        refresh_every=config.rollout_every,
        conclude=conclude,
        value=partial(value, agent),
        law=partial(law, agent),
        samples_ahead=True,
    )


def _sample(agent: SAC, actor: Params, obs: Array, key: Key) -> Array:
    return sac.act(agent, actor, obs, key, deterministic=False)
