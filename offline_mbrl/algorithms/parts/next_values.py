"""What the fitted members think a row leads to: the values that MOBILE and MICRO penalize the spread of."""

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.dynamics.ensemble import Ensemble, only_elites, predict
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Key, Transition


def sample_next_obs(ensemble: Ensemble, obs: Array, action: Array, samples: int, key: Key) -> Array:
    """s'_ik ~ N(s + mu_i, diag sigma_i^2) of every elite i, each draw with its own noise: [samples, elites, B, d]."""
    mean, std = predict(only_elites(ensemble), obs, action)
    noise = jax.random.normal(key, (samples, *mean.shape[:-1], obs.shape[-1]))
    return obs + mean[..., 1:] + std[..., 1:] * noise


def next_values(agent: SAC, state: BranchedState, rows: Transition, samples: int, key: Key) -> Array:
    """V_i = mean_k min_c Qbar_c(s'_ik, a'_ik) with s'_ik ~ elite i at (s, a) and a'_ik ~ pi(.|s'_ik): [elites, B].

    No entropy enters, and no gradient leaves.
    """
    next_obs = sample_next_obs(state.ensemble, rows.obs, rows.action, samples, stream(key, "next_obs"))
    action, _ = sac.sample_action(agent, state.learner.actor.params, next_obs, stream(key, "next_action"))
    value = sac.q_values(agent, state.learner.target, next_obs, action).min(axis=0)
    return jax.lax.stop_gradient(value.mean(axis=0))


def on_model_rows(config: BranchedConfig, measured: Array) -> Array:
    """A quantity of the imagined rows [B - n_real] as one of the mixed batch [B], data rows first: 0 there."""
    return jnp.concatenate([jnp.zeros(config.real_rows), measured])


def require_two_elites(config: BranchedConfig) -> None:
    """A spread needs two elites.

    Raises:
      UserError: the configuration keeps fewer.
    """
    if config.dynamics.elites < 2:
        raise UserError("a spread of next values needs two elites; raise dynamics.elites")
