"""The known termination rules, on predicted observations [..., d] -> [...] bool.

Every comparison states what a living robot satisfies, so that NaN, which satisfies none, ends an episode. The bound of
100 on every component is the environment's own for the hopper; for the other two it is the guard against a diverging
model that OfflineRL-Kit and MOBILE use. The magnitude is bounded on both sides, which several public copies miss.
"""

from collections.abc import Callable

import jax.numpy as jnp

from offline_mbrl.tasks import Robot
from offline_mbrl.types import Array, Problem

LIMIT = 100.0


def hopper(obs: Array) -> Array:
    """Ends unless z > 0.7, |angle| < 0.2, and every component but z lies within +-100 and z is finite."""
    bounded = (jnp.abs(obs[..., 1:]) < LIMIT).all(axis=-1)
    return ~(bounded & jnp.isfinite(obs[..., 0]) & (obs[..., 0] > 0.7) & (jnp.abs(obs[..., 1]) < 0.2))


def walker2d(obs: Array) -> Array:
    """Ends unless 0.8 < z < 2, |angle| < 1 and every component lies within +-100."""
    bounded = (jnp.abs(obs) < LIMIT).all(axis=-1)
    return ~(bounded & (obs[..., 0] > 0.8) & (obs[..., 0] < 2.0) & (jnp.abs(obs[..., 1]) < 1.0))


def halfcheetah(obs: Array) -> Array:
    """Never ends while every component lies within +-100."""
    return ~(jnp.abs(obs) < LIMIT).all(axis=-1)


def never(obs: Array) -> Array:
    """A robot without a rule of its own does not end."""
    return jnp.zeros(obs.shape[:-1], bool)


TERMINATION: dict[str, Callable[[Array], Array]] = {
    "halfcheetah": halfcheetah,
    "hopper": hopper,
    "walker2d": walker2d,
}


def problem_of(robot: Robot) -> Problem:
    """The static facts of a robot's tasks."""
    return Problem(robot.obs_dim, robot.action_dim, TERMINATION.get(robot.name, never))
