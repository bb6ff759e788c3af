"""EDAC and SAC-N: pessimism from many critics (An et al. 2021, NeurIPS, arXiv 2110.01548).

Soft actor-critic whose value is the minimum of N critics, N large enough that the minimum is pessimistic off the data
(SAC-N). EDAC needs fewer, because it also pushes their gradients in the action apart at the data:

    L(theta) = sum_i mean_b (Q_i(s, a) - y)^2 + eta ES,  y = r + gamma discount [ min_i Qbar_i(s', a') - alpha log pi ],
    ES = mean_b 1 / (N - 1) sum_{i != j} < g_i, g_j >,   g_i = grad_a Q_i(s, a) / || grad_a Q_i(s, a) ||.

SAC-N is the configuration with eta = 0.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_rows
from offline_mbrl.algorithms.export import actor_at
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig, SACState
from offline_mbrl.config import Number, Widths
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import Params, apply, map_critics, one_of
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

TINY = 1e-20
"""Squared gradients below this are not scaled up to one: a dead critic has none, and 0 / 0 is not a direction."""


class EDACConfig(SACConfig):
    """What EDAC adds to soft actor-critic, and the constants of its official code."""

    critics: int = Field(10, ge=2, le=2000, description="N, critics whose minimum is the value")
    diversity_weight: Number = Field(1.0, ge=0, description="eta, weight of the gradient diversity; 0 is SAC-N")
    hidden: Widths = (256, 256, 256)
    actor_lr: Number = Field(3e-4, gt=0, description="Adam rate of the actor")
    actor_lr_decay: bool = Field(False, description="cosine decay of the actor's rate to 0 over the run")
    temperature_lr: Number = Field(3e-4, gt=0, description="Adam rate of log alpha")
    temperature_max: Number | None = Field(None, gt=0, description="upper clamp of the learned alpha; none when absent")


def unit(gradient: Array) -> Array:
    """A gradient [..., m] scaled to length 1; zeros stay zeros, and so does what is differentiated through them."""
    return gradient * jax.lax.rsqrt(jnp.maximum(jnp.square(gradient).sum(axis=-1, keepdims=True), TINY))


def similarity(directions: Array) -> Array:
    """ES = mean_b 1 / (N - 1) sum_{i != j} < g_i, g_j > of unit vectors [N, B, m].

    The sum over pairs is ||sum_i g_i||^2 - sum_i ||g_i||^2, so that no N x N matrix is made.
    """
    pairs = jnp.square(directions.sum(axis=0)).sum(axis=-1) - jnp.square(directions).sum(axis=(0, 2))
    return pairs.mean() / (directions.shape[0] - 1)


def values_and_directions(agent: SAC, critic: Params, obs: Array, action: Array) -> tuple[Array, Array]:
    """Q_i(s, a) [N, B] and the directions g_i [N, B, m] in which the action raises them."""
    module = one_of(agent.critic)

    def one(params: Params) -> tuple[Array, Array]:
        value, pull_back = jax.vjp(lambda action: apply(module, params, obs, action), action)
        return value, unit(*pull_back(jnp.ones_like(value)))

    return map_critics(one, critic)


def critic_loss(
    agent: SAC, critic: Params, batch: Transition, target: Array, diversity_weight: float
) -> tuple[Array, Metrics]:
    """sum_i mean_b (Q_i(s_b, a_b) - y_b)^2 + eta ES, for y [B]."""
    q, directions = values_and_directions(agent, critic, batch.obs, batch.action)
    chex.assert_shape(target, q.shape[1:])
    error = jnp.square(q - target).mean(axis=-1).sum()
    shared = similarity(directions)
    metrics = {"critic_loss": error, "similarity": shared, "q": q.mean(), "q_std": q.std(axis=0).mean()}
    return error + diversity_weight * shared, metrics | {"target": target.mean()}


def init(agent: SAC, key: Key, data: Data, pretrained: Pretrained) -> SACState:
    """A fresh actor-critic."""
    return sac.init(agent, key)


def sample(agent: SAC, state: SACState, data: Data, key: Key) -> Transition:
    """Rows of the data."""
    return sample_rows(data, key, agent.config.batch_size)


def update(
    agent: SAC, diversity_weight: float, state: SACState, batch: Transition, key: Key
) -> tuple[SACState, Metrics]:
    """Critics, then actor and temperature, then targets: SAC's step with EDAC's loss of the critics."""
    target = sac.bellman_target(agent, state, batch, stream(key, "target"))
    state, critic_metrics = sac.update_critic(
        agent, state, lambda critic: critic_loss(agent, critic, batch, target, diversity_weight)
    )
    state, actor_metrics = sac.update_actor(agent, state, batch.obs, stream(key, "actor"))
    return sac.update_target(agent, state), critic_metrics | actor_metrics


def act(agent: SAC, state: SACState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The actor's action."""
    return sac.act(agent, state.actor.params, obs, key, deterministic)


def value(agent: SAC, state: SACState, obs: Array, action: Array) -> Array:
    """min_i Q_i(s, a)."""
    return sac.q_values(agent, state.critic.params, obs, action).min(axis=0)


def law(agent: SAC, state: SACState, obs: Array) -> tuple[Array, Array]:
    """The actor's Gaussian."""
    return sac.policy_parameters(agent, state.actor.params, obs)


def is_zero(weight: float) -> bool:
    """Whether a weight is the number 0; one that is traced may turn out to be anything."""
    return isinstance(weight, float | int) and weight == 0


def build(problem: Problem, config: EDACConfig, steps: int) -> Algorithm:
    """EDAC's functions for a run of `steps` gradient steps; SAC-N's where the diversity has no weight."""
    agent, eta = sac.make(problem, config, steps), config.diversity_weight
    step = partial(sac.update, agent) if is_zero(eta) else partial(update, agent, eta)
    functions = partial(init, agent), partial(sample, agent), step, partial(act, agent)
    return Algorithm(*functions, value=partial(value, agent), law=partial(law, agent), samples_ahead=True)


DEFINITION = Definition(
    name="edac",
    title="Ensemble-Diversified Actor Critic, and SAC-N",
    paper="An et al., NeurIPS 2021, arXiv 2110.01548",
    equation="L = sum_i mean (Q_i - y)^2 + eta/(N - 1) mean sum_{i != j} cos(grad_a Q_i, grad_a Q_j);  y: min_i Qbar",
    config=EDACConfig,
    build=build,
    policies=actor_at("actor"),
    deviations=(
        "The similarity is over all pairs of critics, as in the paper; the official code takes the pairs among "
        "min(N, dim A) critics drawn anew at every step, and divides by their number less one.",
        "The step order is critics, actor, temperature, targets; the official code takes all gradients at old weights.",
        "More than 50 critics are evaluated in turn, which changes memory and rounding alone.",
    ),
    across_tasks=True,
)
