"""A fitted world model in the task's own units: its predictions of one step, and of many on its own predictions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian, predict
from offline_mbrl.dynamics.rollout import standardized_model
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array, Key


class World(struct.PyTreeNode):
    """An ensemble, the scale of the observations that it lives in, and the task's rule of termination."""

    ensemble: Ensemble
    observations: Normalizer  # mean 0 and deviation 1 for a model of raw observations
    terminates: Callable[[Array], Array] = struct.field(pytree_node=False)


class OneStep(NamedTuple):
    """What all N members expect of B rows: y = (r, s' - s), [N, B, d + 1]."""

    own: Gaussian  # in the model's units, which its penalties are measured in
    units: Gaussian  # in the task's


class Path(NamedTuple):
    """h imagined steps of B rows under given actions, of one path or several."""

    reward: Array  # [..., h, B]
    obs: Array  # [..., h, B, d] after each step


def raw_world(ensemble: Ensemble, obs_dim: int, terminates: Callable[[Array], Array]) -> World:
    """The world of an ensemble that was fitted to observations as they are."""
    return World(ensemble, Normalizer(jnp.zeros(obs_dim), jnp.ones(obs_dim)), terminates)


@jax.jit
def one_step(world: World, obs: Array, action: Array) -> OneStep:
    """The prediction for observations [B, d] and actions [B, m]."""
    own = predict(world.ensemble, world.observations.apply(obs), action)
    scale = jnp.concatenate([jnp.ones(1), world.observations.std])
    return OneStep(own, Gaussian(own.mean * scale, own.std * scale))


@jax.jit
def mean_path(world: World, starts: Array, actions: Array) -> Path:
    """Each step the mean over the elites' means: starts [B, d], actions [h, B, m]."""

    def step(obs: Array, action: Array) -> tuple[Array, Path]:
        y = one_step(world, obs, action).units.mean[world.ensemble.elites].mean(axis=0)
        return obs + y[:, 1:], Path(y[:, 0], obs + y[:, 1:])

    return jax.lax.scan(step, starts, actions)[1]


@jax.jit
def sampled_path(world: World, starts: Array, actions: Array, key: Key) -> Path:
    """As algorithms roll out: a random elite for each row and step, with its noise."""
    model = standardized_model(world.ensemble, world.observations, world.terminates)

    def step(obs: Array, inputs: tuple[Array, Key]) -> tuple[Array, Path]:
        imagined = model(obs, *inputs)
        return imagined.next_obs, Path(imagined.reward, imagined.next_obs)

    return jax.lax.scan(step, starts, (actions, jax.random.split(key, actions.shape[0])))[1]


def sampled_paths(world: World, starts: Array, actions: Array, key: Key, samples: int) -> Path:
    """`samples` independent ones: [samples, h, B]."""
    paths = [sampled_path(world, starts, actions, one) for one in jax.random.split(key, samples)]
    return Path(*(jnp.stack(column) for column in zip(*paths, strict=True)))
