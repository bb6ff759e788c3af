"""Estimates of a policy's value that need no simulator, besides fitted Q evaluation: the critics', and the model's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.dynamics.rollout import ModelStep, standardized_model
from offline_mbrl.dynamics.uncertainty import PENALTIES, PenaltyName
from offline_mbrl.keys import stream
from offline_mbrl.model_error.world import World
from offline_mbrl.selection.candidates import Policies
from offline_mbrl.simulation.rules import Floats
from offline_mbrl.types import Array, Key, Transition


def critic_values(policies: Policies, obs: Array, action: Array) -> Array | None:
    """Q(s, a) [S, B] of each policy's own critics, their minimum, at [B, d] and [S, B, m]; None where it has none."""
    value = policies.system.algorithm.value
    if value is None:
        return None
    one = jax.vmap(value, in_axes=(None, 0, 0))
    values: Array = jax.jit(jax.vmap(one, in_axes=(0, None, 0)))(policies.state, obs, action)
    return values


def start_values(policies: Policies, starts: Array) -> Floats | None:
    """[S] mean over start states [B, d] of Q(s, pi(s))."""
    values = critic_values(policies, starts, policies.act_alike(starts))
    return None if values is None else np.asarray(values.mean(axis=1), np.float64)


def td_errors(policies: Policies, rows: Transition) -> Floats | None:
    """[S] mean over rows [B] of (Q(s, a) - r - gamma discount Q(s', pi(s')))^2, gamma that of the system."""
    copies = len(policies.seeds)
    q = critic_values(policies, rows.obs, jnp.broadcast_to(rows.action, (copies, *rows.action.shape)))
    after = critic_values(policies, rows.next_obs, policies.act_alike(rows.next_obs))
    if q is None or after is None:
        return None
    gamma = float(policies.job.config["discount"])
    return np.asarray(jnp.square(q - rows.reward - gamma * rows.discount * after).mean(axis=1), np.float64)


def model_values(
    policies: Policies, world: World, starts: Array, horizon: int, discount: float, penalty: PenaltyName, key: Key
) -> tuple[Floats, Floats]:
    """[S] mean over starts [B, d] of sum_t gamma^t r_t in the model, and of sum_t gamma^t u_t, u the penalty.

    A row ends where the task's rule says so, and before a prediction that is not finite.
    """
    copies, (rows, width) = len(policies.seeds), starts.shape
    obs = jnp.broadcast_to(starts, (copies, rows, width))
    alive, values, penalties = np.ones((copies, rows), np.bool_), np.zeros((copies, rows)), np.zeros((copies, rows))
    for number in range(horizon):
        step = _step(world, penalty, obs, policies.act(obs), jax.random.fold_in(stream(key, "model"), number))
        reward, unsure = np.asarray(step.reward, np.float64), np.asarray(step.uncertainty, np.float64)
        obs = step.next_obs
        alive &= np.isfinite(reward) & np.isfinite(unsure) & np.asarray(jnp.isfinite(obs).all(axis=-1))
        values += discount**number * np.where(alive, reward, 0.0)
        penalties += discount**number * np.where(alive, unsure, 0.0)
        alive &= np.asarray(step.discount) > 0
        if not alive.any():
            break
    return values.mean(axis=1), penalties.mean(axis=1)


@partial(jax.jit, static_argnums=1)
def _step(world: World, penalty: PenaltyName, obs: Array, action: Array, key: Key) -> ModelStep:
    """One step of rows [S, B] that share the model."""
    model = standardized_model(world.ensemble, world.observations, world.terminates, PENALTIES[penalty])
    step = model(obs.reshape(-1, obs.shape[-1]), action.reshape(-1, action.shape[-1]), key)
    return jax.tree.map(lambda leaf: leaf.reshape(*obs.shape[:2], *leaf.shape[1:]), step)
