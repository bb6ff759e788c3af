"""One Gaussian model that goes on learning: its errors on the data, and states that walk inside it (ARMOR).

The model is a dynamics ensemble of one member: y = (r, s' - s) is Gaussian, r is taken as its mean.
"""

import math

import chex
import jax.numpy as jnp
from flax import struct

from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian, predict
from offline_mbrl.dynamics.fit import targets
from offline_mbrl.types import Array, Problem, Transition


class Walk(struct.PyTreeNode):
    """States inside M that each walking policy has reached, block after block: S_pi, then S_ref."""

    obs: Array  # [P * B, d]
    alive: Array  # [P * B] bool


def predict_one(world: Ensemble, obs: Array, action: Array) -> Gaussian:
    """M's Gaussian of y = (r, s' - s): [B, d + 1]."""
    mean, std = predict(world, obs, action)
    return Gaussian(mean[0], std[0])


def transition_error(gaussian: Gaussian, rows: Transition) -> Array:
    """mean_b -log N(s'; s + mu, diag sigma^2), of Gaussians [B, d + 1] at `rows`."""
    chex.assert_equal_shape((targets(rows), *gaussian))
    z = (targets(rows) - gaussian.mean)[..., 1:] / gaussian.std[..., 1:]
    return (0.5 * jnp.square(z) + jnp.log(gaussian.std[..., 1:]) + 0.5 * math.log(2 * math.pi)).sum(axis=-1).mean()


def reward_error(gaussian: Gaussian, rows: Transition) -> Array:
    """mean_b (R_M - r)^2."""
    chex.assert_equal_shape((gaussian.mean[..., 0], rows.reward))
    return jnp.square(gaussian.mean[..., 0] - rows.reward).mean()


def imagine(problem: Problem, gaussian: Gaussian, obs: Array, action: Array, noise: Array) -> Transition:
    """D_M at (s, a): r = R_M, the mean, and s' = s + mu + sigma * noise [B, d], both with M's gradient."""
    next_obs = obs + gaussian.mean[..., 1:] + gaussian.std[..., 1:] * noise
    return Transition(obs, action, gaussian.mean[..., 0], 1.0 - problem.terminates(next_obs), next_obs)


def advance(problem: Problem, world: Ensemble, walk: Walk, action: Array, noise: Array) -> tuple[Walk, Transition]:
    """One step inside M of every walking state, and the rows that it made; a state that ended stays dead."""
    rows = imagine(problem, predict_one(world, walk.obs, action), walk.obs, action, noise)
    goes_on = (rows.discount > 0) & jnp.isfinite(rows.next_obs).all(axis=-1)
    return Walk(rows.next_obs, walk.alive & goes_on), rows


def restart(walk: Walk, obs: Array, due: Array) -> Walk:
    """Where `due`, every policy walks again from the data states obs [B, d]."""
    fresh = jnp.tile(obs, (walk.alive.shape[0] // obs.shape[0], 1))
    return Walk(jnp.where(due, fresh, walk.obs), walk.alive | due)
