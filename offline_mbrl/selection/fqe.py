"""Fitted Q evaluation: the value of given policies from data alone (Le et al. 2019, arXiv 1903.08738).

    min_theta E_data (Q_theta(s, a) - r - gamma discount Qbar(s', pi(s')))^2,    V = mean over starts of Q(s, pi(s))

A network of its own for every policy, all fitted in one program. The policies enter by their actions alone, so they may
come from different systems. Observations are standardized and values are fitted in units of mean |r| / (1 - gamma), so
that one learning rate serves all tasks. Targets are clipped to what rewards within the data's range can add up to, as
no true value leaves that; without it the networks of policies far from the data grow without bound.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from pydantic import Field

from offline_mbrl.config import Config, Width
from offline_mbrl.keys import indices, stream
from offline_mbrl.nn.networks import Critic, Params, apply, init_params
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.nn.train_state import TrainState, cosine_adam, polyak
from offline_mbrl.types import Array, Key, Transition

TINY = 1e-6


class FQEConfig(Config):
    """The evaluation's settings: at least 1 / ((1 - gamma) tau) steps are one horizon, and four of them are needed."""

    discount: float = Field(0.99, ge=0, lt=1, description="gamma of the value")
    hidden: tuple[Width, ...] = Field((256, 256), description="widths of a network's hidden layers")
    steps: int = Field(20_000, ge=1, description="gradient steps")
    batch_size: int = Field(256, ge=1, description="rows of one step, the same for all policies")
    learning_rate: float = Field(3e-4, gt=0, description="Adam rate, which falls to 0 as a cosine")
    tau: float = Field(0.02, gt=0, le=1, description="Polyak step of the target network")


class Evaluator(struct.PyTreeNode):
    """The fitted networks of C policies, and the units that they live in."""

    params: Params  # [C, ...]
    observations: Normalizer
    unit: Array


def fitted_q(config: FQEConfig, rows: Transition, next_action: Array, key: Key) -> Evaluator:
    """Fits Q of every policy to `rows` [n]; `next_action` [C, n, m] is what each does in `rows.next_obs`."""
    scaler, unit = Normalizer.fit(rows.obs), value_unit(config, rows.reward)
    scaled = rows._replace(obs=scaler.apply(rows.obs), next_obs=scaler.apply(rows.next_obs), reward=rows.reward / unit)
    return Evaluator(_fit_all(config, scaled, next_action, key), scaler, unit)


def value_unit(config: FQEConfig, reward: Array) -> Array:
    """mean |r| / (1 - gamma)."""
    return jnp.maximum(jnp.abs(reward).mean(), TINY) / (1 - config.discount)


def value_bounds(config: FQEConfig, reward: Array) -> tuple[Array, Array]:
    """min(r, 0) / (1 - gamma) and max(r, 0) / (1 - gamma) over the data: an episode may end, which is worth 0."""
    return jnp.minimum(reward.min(), 0) / (1 - config.discount), jnp.maximum(reward.max(), 0) / (1 - config.discount)


@partial(jax.jit, static_argnums=0)
def q_values(config: FQEConfig, evaluator: Evaluator, obs: Array, action: Array) -> Array:
    """Q of every policy [C, B] at observations [B, d] and its own actions [C, B, m]."""
    inputs, network = evaluator.observations.apply(obs), Critic(config.hidden)
    values: Array = jax.vmap(lambda params, action: apply(network, params, inputs, action))(evaluator.params, action)
    return evaluator.unit * values


@partial(jax.jit, static_argnums=0)
def _fit_all(config: FQEConfig, rows: Transition, next_action: Array, key: Key) -> Params:
    return jax.vmap(partial(_fit_one, config, rows, key))(next_action)


def _fit_one(config: FQEConfig, rows: Transition, key: Key, next_action: Array) -> Params:
    """The weights of one policy's network; all policies begin alike and see the same batches."""
    network, optimizer = Critic(config.hidden), cosine_adam(config.learning_rate, config.steps)
    params = init_params(network, stream(key, "init"), rows.obs.shape[-1], rows.action.shape[-1])
    keys, bounds = jax.random.split(stream(key, "rows"), config.steps), value_bounds(config, rows.reward)

    def step(carry: tuple[TrainState, Params], key: Key) -> tuple[tuple[TrainState, Params], None]:
        online, target = carry
        index = indices(key, config.batch_size, rows.reward.shape[0])
        batch = jax.tree.map(lambda leaf: leaf[index], rows)
        after = apply(network, target, batch.next_obs, next_action[index])
        goal = jnp.clip(batch.reward + config.discount * batch.discount * after, *bounds)
        online = online.step(jax.grad(_loss, argnums=1)(network, online.params, batch, goal), optimizer)
        return (online, polyak(target, online.params, config.tau)), None

    (online, _), _ = jax.lax.scan(step, (TrainState.create(params, optimizer), params), keys)
    return online.params


def _loss(network: Critic, params: Params, batch: Transition, goal: Array) -> Array:
    return jnp.square(apply(network, params, batch.obs, batch.action) - goal).mean()
