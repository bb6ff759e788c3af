"""A policy cloned from z-scored observations before the first step of an actor-critic, as RAMBO begins."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import sample_rows
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.config import Config, Width
from offline_mbrl.dynamics.fit import standardize_data
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import Params, action_log_prob, init_params
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.pretraining.contract import Pretraining, Progress
from offline_mbrl.types import Array, Data, Key, Transition

VERSION = 1
"""Raised when the fit itself changes, so that older fits are not reused."""


class CloningConfig(Config):
    """What enters a clone: the actor and its optimizer are those of the actor-critic that goes on with them."""

    hidden: tuple[Width, ...] = Field(description="widths of the actor's hidden layers")
    batch_size: int = Field(ge=1, description="rows of one step")
    epochs: int = Field(ge=0, description="passes over as many rows as the data have")
    learning_rate: float = Field(gt=0, description="Adam rate of the actor")
    decay_steps: int | None = Field(None, description="steps of the rate's cosine decay; a constant rate when absent")


class CloneState(struct.PyTreeNode):
    """A clone in progress."""

    actor: TrainState
    epochs: Array  # int32
    loss: Array  # mean over the last epoch's steps


def cloning_loss(agent: SAC, actor: Params, batch: Transition) -> Array:
    """-mean_b log pi(a_b|s_b), actions pulled inside the open box."""
    return -action_log_prob(*sac.policy_parameters(agent, actor, batch.obs), batch.action).mean()


def start(agent: SAC, key: Key, data: Data) -> tuple[None, CloneState]:
    """The actor that the actor-critic of this key would start with."""
    params = init_params(agent.actor, stream(key, "actor"), agent.problem.obs_dim)
    actor = TrainState.create(params, agent.actor_optimizer)
    return None, CloneState(actor, jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, jnp.float32))


def clone_epoch(config: CloningConfig, agent: SAC, fixed: None, state: CloneState, data: Data, key: Key) -> CloneState:
    """ceil(n / batch) steps on rows drawn with replacement; a finished clone does not change."""
    steps = math.ceil(data.is_first.shape[0] / config.batch_size)

    def step(actor: TrainState, key: Key) -> tuple[TrainState, Array]:
        batch = sample_rows(data, key, config.batch_size)
        loss, grads = jax.value_and_grad(cloning_loss, argnums=1)(agent, actor.params, batch)
        return actor.step(grads, agent.actor_optimizer), loss

    keys = jax.random.split(stream(key, "pretrain"), max(config.epochs, 1) * steps)
    keys = jax.lax.dynamic_slice_in_dim(keys, state.epochs * steps, steps)
    actor, losses = jax.lax.scan(step, state.actor, keys)
    cloned = CloneState(actor, state.epochs + 1, losses.mean())
    return jax.tree.map(partial(jnp.where, active(config, state)), cloned, state)


def active(config: CloningConfig, state: CloneState) -> Array:
    """Whether epochs are left."""
    return state.epochs < config.epochs


def finish(fixed: None, state: CloneState) -> TrainState:
    """The actor, with the optimizer state that its training goes on with."""
    return state.actor


def pretraining(config: CloningConfig, agent: SAC) -> Pretraining:
    """Behavior cloning of the actor of `agent`."""
    return Pretraining(
        config=config,
        version=VERSION,
        streams=("init",),
        start=partial(start, agent),
        epoch=partial(clone_epoch, config, agent),
        active=partial(active, config),
        finish=finish,
        progress=_progress,
        measure="negative log-likelihood",
        max_epochs=config.epochs,
        prepare=standardize_data,
    )


def _progress(state: CloneState) -> Progress:
    return Progress(state.epochs, state.loss)
