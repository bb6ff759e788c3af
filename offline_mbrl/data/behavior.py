"""A behavior: a stochastic policy that makes data."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.nn.networks import GaussianActor, Params, apply
from offline_mbrl.tasks import Robot
from offline_mbrl.types import Array, Key

BehaviorAct = Callable[[Params, Array, Key], Array]
"""Weights, one observation [obs_dim] and a key -> an action [action_dim]."""


class Behavior(NamedTuple):
    """A stochastic policy; policies of one shape share one compiled function."""

    act: BehaviorAct
    params: Params


def uniform(robot: Robot) -> Behavior:
    """Actions uniform in the box [-1, 1]: D4RL's random policy."""
    return Behavior(_uniform, np.zeros(robot.action_dim, np.float32))


def stochastic(actor: Params, log_std_bounds: tuple[float, float] = GaussianActor.log_std_bounds) -> Behavior:
    """Samples tanh(mean + std * eps) of a Gaussian actor."""
    return Behavior(_tanh_gaussian(log_std_bounds), actor)


def _uniform(params: Params, obs: Array, key: Key) -> Array:
    return jax.random.uniform(key, params.shape, minval=-1.0, maxval=1.0)


@cache
def _tanh_gaussian(log_std_bounds: tuple[float, float]) -> BehaviorAct:
    """One function for each pair of bounds, so that policies of one shape share a compiled one."""
    return partial(_sample_tanh_gaussian, log_std_bounds)


def _sample_tanh_gaussian(log_std_bounds: tuple[float, float], params: Params, obs: Array, key: Key) -> Array:
    layers = params["MLP_0"]
    widths = [layers[f"Dense_{index}"]["bias"].shape[-1] for index in range(len(layers))]
    actor = GaussianActor(tuple(widths[:-1]), widths[-1] // 2, log_std_bounds)
    mean, log_std = apply(actor, params, obs)
    return jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape))
