"""What the fitted members think a row leads to, and targets that are lowered by how much they differ: MOBILE, MICRO."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from pydantic import Field

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState, model_rows
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.dynamics.ensemble import Ensemble, only_elites, predict
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Key, Metrics, Transition

Measure = Callable[[Array], Array]
"""Next values V_i [elites, B] -> how much they differ [B]."""


class SpreadConfig(BranchedConfig):
    """What the systems share that look at every elite's next value."""

    next_samples: int = Field(10, ge=1, le=1000, description="K, next states drawn from each elite")
    floor_at_zero: bool = Field(True, description="raise targets below 0 to 0: right where returns are not negative")


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


def spread(
    config: SpreadConfig, agent: SAC, state: BranchedState, batch: Transition, measure: Measure, key: Key
) -> Array:
    """`measure` of the next values of a mixed batch's imagined rows [B], and 0 on its data rows."""
    values = next_values(agent, state, model_rows(config, batch), config.next_samples, stream(key, "members"))
    return jnp.concatenate([jnp.zeros(config.real_rows), measure(values)])


def lowered_target(
    reward: Array,
    discount: Array,
    value: Array,
    reward_penalty: Array | float,
    value_penalty: Array | float,
    floor: bool,
) -> Array:
    """y = r - p_r + discount (V(s') - p_V), with discount = gamma (1 - done); not below 0 where `floor`. All [B]."""
    target = reward - reward_penalty + discount * (value - value_penalty)
    return jnp.maximum(target, 0.0) if floor else target


def lowered_backup(
    config: SpreadConfig,
    agent: SAC,
    state: BranchedState,
    batch: Transition,
    key: Key,
    *,
    reward_penalty: Array | float = 0.0,
    value_penalty: Array | float = 0.0,
) -> tuple[Array, Metrics]:
    """y [B] of a mixed batch, without a gradient, and the share of rows at the floor."""
    value = sac.next_value(agent, state.learner, batch.next_obs, stream(key, "value"))
    discount = config.discount * batch.discount
    y = lowered_target(batch.reward, discount, value, reward_penalty, value_penalty, config.floor_at_zero)
    return jax.lax.stop_gradient(y), {"floored": (y == 0.0).mean()}


def mean_on_model_rows(config: BranchedConfig, spread: Array) -> Array:
    """The mean over the imagined rows of a quantity [B] that is 0 on data rows."""
    return spread.sum() / max(config.batch_size - config.real_rows, 1)


def require_two_elites(config: BranchedConfig) -> None:
    """A spread needs two elites.

    Raises:
      UserError: the configuration keeps fewer.
    """
    if config.dynamics.elites < 2:
        raise UserError("a spread of next values needs two elites; raise dynamics.elites")
