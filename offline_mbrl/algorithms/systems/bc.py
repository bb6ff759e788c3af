"""Behavior cloning: the policy that imitates the data, the floor of every comparison.

    deterministic:  min mean (tanh f(s) - a)^2          likelihood:  max mean log pi(a|s), pi a tanh-Gaussian

With `best_share` below 1 only the episodes that returned most are cloned (%BC of Chen et al. 2021, arXiv 2106.01345).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained
from offline_mbrl.algorithms.export import SavedState, actor_at
from offline_mbrl.config import Config, Number, Width
from offline_mbrl.keys import indices
from offline_mbrl.nn.networks import (
    DeterministicActor,
    GaussianActor,
    Params,
    action_log_prob,
    apply,
    init_params,
    tanh_gaussian,
)
from offline_mbrl.nn.plain import PlainActor
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class BCConfig(Config):
    """Hyper-parameters of behavior cloning."""

    policy: Literal["deterministic", "gaussian"] = Field("deterministic", description="form of the policy and its loss")
    best_share: float = Field(1.0, gt=0, le=1, description="share of rows cloned, those of the best episodes first")
    hidden: tuple[Width, ...] = Field((256, 256), description="widths of the hidden layers")
    learning_rate: Number = Field(3e-4, gt=0, description="Adam rate")
    batch_size: int = Field(256, ge=1, description="rows of one gradient step")


class BCState(struct.PyTreeNode):
    """The policy, and which rows of the data it imitates."""

    actor: TrainState
    chosen: Array  # [k] the rows that are cloned


@dataclass(frozen=True)
class BC:
    """The static half: the policy's network and its optimizer."""

    config: BCConfig
    actor: nn.Module
    optimizer: optax.GradientTransformation
    problem: Problem


def make(problem: Problem, config: BCConfig) -> BC:
    """The network that `policy` names."""
    network = GaussianActor if config.policy == "gaussian" else DeterministicActor
    return BC(config, network(config.hidden, problem.action_dim), optax.adam(config.learning_rate), problem)


def best_rows(episode_return: Array, share: float) -> Array:
    """The ceil(share * n) rows whose episodes returned most; rows of one episode stay together."""
    count = math.ceil(share * episode_return.shape[0])
    return jnp.argsort(-episode_return, stable=True)[:count].astype(jnp.int32)


def init(bc: BC, key: Key, data: Data, pretrained: Pretrained) -> BCState:
    """A fresh policy, and the rows that it will imitate."""
    params = init_params(bc.actor, key, bc.problem.obs_dim)
    return BCState(TrainState.create(params, bc.optimizer), best_rows(data.episode_return, bc.config.best_share))


def sample(bc: BC, state: BCState, data: Data, key: Key) -> Transition:
    """Rows among the chosen ones, uniform with replacement."""
    index = state.chosen[indices(key, bc.config.batch_size, state.chosen.shape[0])]
    return jax.tree.map(lambda leaf: leaf[index], data.transitions)


def squared_error(prediction: Array, action: Array) -> Array:
    """mean over rows and dimensions of (prediction - action)^2."""
    chex.assert_equal_shape((prediction, action))
    return jnp.square(prediction - action).mean()


def negative_log_likelihood(mean: Array, log_std: Array, action: Array) -> Array:
    """-mean_b log pi(a_b|s_b)."""
    return -action_log_prob(mean, log_std, action).mean()


def actor_loss(bc: BC, actor: Params, batch: Transition) -> Array:
    """The squared error of a deterministic policy, the negative log-likelihood of a Gaussian one."""
    output = apply(bc.actor, actor, batch.obs)
    if bc.config.policy == "deterministic":
        return squared_error(output, batch.action)
    mean, log_std = output
    return negative_log_likelihood(mean, log_std, batch.action)


def update(bc: BC, state: BCState, batch: Transition, key: Key) -> tuple[BCState, Metrics]:
    """One step of the policy."""
    loss, grads = jax.value_and_grad(actor_loss, argnums=1)(bc, state.actor.params, batch)
    return state.replace(actor=state.actor.step(grads, bc.optimizer)), {"actor_loss": loss}


def act(bc: BC, state: BCState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The policy's action, tanh(mean) or a sample of a Gaussian one."""
    output = apply(bc.actor, state.actor.params, obs)
    if bc.config.policy == "deterministic":
        return output
    mean, log_std = output
    return jnp.tanh(mean) if deterministic else tanh_gaussian(mean, log_std).sample(seed=key)


def gaussian(bc: BC, state: BCState, obs: Array) -> tuple[Array, Array]:
    """The law of a policy that has one."""
    mean, log_std = apply(bc.actor, state.actor.params, obs)
    return mean, log_std


def build(problem: Problem, config: BCConfig, steps: int) -> Algorithm:
    """BC's functions; the number of steps changes nothing."""
    bc = make(problem, config)
    law = partial(gaussian, bc) if config.policy == "gaussian" else None
    return Algorithm(
        partial(init, bc), partial(sample, bc), partial(update, bc), partial(act, bc), law=law, samples_ahead=True
    )


def policies(problem: Problem, config: BCConfig, state: SavedState) -> Mapping[str, PlainActor]:
    """The network, with the noise that `policy` names."""
    return actor_at("actor", noise="squashed" if config.policy == "gaussian" else "none")(problem, config, state)


DEFINITION = Definition(
    name="bc",
    title="Behavior Cloning",
    paper="Pomerleau 1991; %BC: Chen et al., NeurIPS 2021, arXiv 2106.01345",
    equation="min_pi mean (pi(s) - a)^2   or   max_pi mean log pi(a|s)",
    config=BCConfig,
    build=build,
    policies=policies,
    deviations=(
        "%BC keeps a share of the rows, those of the best episodes first, and not a share of the episodes: the number "
        "of rows is then fixed, and the last episode may be cut.",
    ),
)
