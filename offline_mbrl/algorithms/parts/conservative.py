"""The conservative critic term of CQL (Kumar et al. 2020, arXiv 2006.04779), shared by CQL and COMBO.

For each critic, with proposals a_j drawn at state s from known densities mu_j,

    C_k = T mean_s [ log sum_j exp((Q_k(s, a_j) - log mu_j(a_j)) / T) - log n ] - mean_{(s,a) in data} Q_k(s, a),

which estimates the log-integral of exp Q over actions, minus the value of the data. The critic pays w beta C_k beside
its Bellman error; w is 1, or learned as the multiplier of the constraint beta C <= threshold.
"""

import math
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC, SACState
from offline_mbrl.config import Config, Number
from offline_mbrl.nn.networks import Params, tanh_gaussian
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Key, Metrics, Transition

Group = Literal["state", "kinds", "batch"]

_AXES: dict[Group, tuple[int, ...]] = {"state": (1, 2), "kinds": (2,), "batch": (1, 2, 3)}


class ConservativeConfig(Config):
    """The conservative term: its proposals, its log-sum-exp and its weight."""

    conservative_weight: Number = Field(5.0, ge=0, le=1000, description="beta, weight of the conservative term")
    action_samples: int = Field(10, ge=1, description="proposed actions of each kind for each state")
    conservative_temperature: Number = Field(1.0, gt=0, description="T of the log-sum-exp")
    lse_group: Group = Field(
        "state",
        description="what one log-sum-exp runs over: all proposals of a state (30-way), "
        "one proposal of each kind (3-way, OfflineRL-Kit), or the batch flattened",
    )
    maximize_data: bool = Field(True, description="subtract the mean Q of the data rows")
    centered: bool = Field(
        True, description="subtract log n from a log-sum-exp of n terms; matters to a threshold only"
    )
    weighting: Literal["fixed", "learned"] = Field("fixed", description="w = 1, or w learned against the threshold")
    threshold: Number = Field(5.0, description="what beta C is held to when w is learned")
    weight_max: Number = Field(1e6, gt=0, description="upper clamp of the learned w")
    weight_lr: Number = Field(3e-4, gt=0, description="Adam rate of the learned log w")


class Draws(NamedTuple):
    """J actions for each of B states, and the log-density of each under the law it came from."""

    action: Array  # [J, B, m]
    log_density: Array  # [J, B]


class Proposals(NamedTuple):
    """G kinds of draws and the states [B, d] at which they are all judged; the policy's own kind comes first."""

    obs: Array  # [B, d]
    action: Array  # [J, G, B, m]
    log_density: Array  # [J, G, B]


def policy_draws(agent: SAC, actor: Params, obs: Array, count: int, key: Key) -> Draws:
    """`count` actions of the policy for each of obs [B, d]; the network runs once for a state."""
    law = tanh_gaussian(*sac.policy_parameters(agent, actor, obs))
    return Draws(*law.sample_and_log_prob(seed=key, sample_shape=(count,)))


def uniform_draws(count: int, action: Array, key: Key) -> Draws:
    """`count` actions uniform in [-1, 1]^m for each of the rows of action [B, m]: log-density -m log 2."""
    samples = jax.random.uniform(key, (count, *action.shape), minval=-1.0, maxval=1.0)
    return Draws(samples, jnp.full(samples.shape[:-1], -action.shape[-1] * math.log(2.0)))


def propose(obs: Array, *kinds: Draws) -> Proposals:
    """The kinds side by side, without a gradient: the term moves critics only."""
    action, log_density = (jnp.stack(parts, axis=1) for parts in zip(*kinds, strict=True))
    return jax.lax.stop_gradient(Proposals(obs, action, log_density))


def soft_maximum(config: ConservativeConfig, q: Array, log_density: Array) -> Array:
    """T [ LSE((Q - log mu) / T) - log n ], mean over the groups: [K] for q [K, J, G, B] and log_density [J, G, B].

    A group is the J G proposals of a state, the G of a repeat, or all J G B, as `lse_group` says.
    """
    chex.assert_shape(log_density, q.shape[1:])
    axes, temperature = _AXES[config.lse_group], config.conservative_temperature
    total = jax.nn.logsumexp((q - log_density) / temperature, axis=axes)
    count = math.prod(q.shape[axis] for axis in axes) if config.centered else 1
    return temperature * (total - math.log(count)).reshape(q.shape[0], -1).mean(axis=-1)


def conservative_term(config: ConservativeConfig, q: Array, log_density: Array, q_data: Array) -> Array:
    """C_k [K] from Q at the proposals [K, J, G, B] and at the data rows [K, n]."""
    pushed_down = soft_maximum(config, q, log_density)
    return pushed_down - q_data.mean(axis=-1) if config.maximize_data else pushed_down


def critic_loss(
    config: ConservativeConfig,
    agent: SAC,
    critic: Params,
    batch: Transition,
    target: Array,
    proposals: Proposals,
    real_rows: int,
    weight: Array,
) -> tuple[Array, Metrics]:
    """sum_k { mean_b (Q_k - y)^2 + w beta C_k }; the batch's first `real_rows` rows are the data's.

    The metric `gap` is E[Q(s, pi)] - E_data[Q], whose sign tells whether beta is large enough.
    """
    q = sac.q_values(agent, critic, batch.obs, batch.action)
    chex.assert_shape(target, q.shape[1:])
    obs = jnp.broadcast_to(proposals.obs, (*proposals.log_density.shape, proposals.obs.shape[-1]))
    q_proposed = sac.q_values(agent, critic, obs, proposals.action)
    term = conservative_term(config, q_proposed, proposals.log_density, q[:, :real_rows])
    loss = (jnp.square(q - target).mean(axis=-1) + weight * config.conservative_weight * term).sum()
    metrics = {"critic_loss": loss, "q": q.mean(), "target": target.mean(), "conservative": term.mean()}
    if real_rows:
        metrics["gap"] = q_proposed[:, :, 0].mean() - q[:, :real_rows].mean()
    return loss, metrics


def init_weight(config: ConservativeConfig) -> TrainState:
    """log w = 0."""
    return TrainState.create(jnp.zeros(()), weight_optimizer(config))


def weight_optimizer(config: ConservativeConfig) -> optax.GradientTransformation:
    """Adam of log w."""
    return optax.adam(config.weight_lr)


def update_weight(config: ConservativeConfig, log_weight: TrainState, term: Array) -> TrainState:
    """One ascent step of log w on w (beta C - threshold), then log w <- min(log w, log weight_max).

    The clamp is a projection: a clamp inside exp() has no gradient beyond it, and w would never come down again.
    """
    gradient = -jnp.exp(log_weight.params) * (config.conservative_weight * term - config.threshold)
    log_weight = log_weight.step(gradient, weight_optimizer(config))
    return log_weight.replace(params=jnp.minimum(log_weight.params, jnp.log(config.weight_max)))


def update_critic(
    config: ConservativeConfig,
    agent: SAC,
    learner: SACState,
    log_weight: TrainState,
    batch: Transition,
    target: Array,
    proposals: Proposals,
    real_rows: int,
) -> tuple[SACState, TrainState, Metrics]:
    """One step of the critics on the Bellman error and the term, then one of log w where it is learned."""
    weight = jnp.exp(log_weight.params)
    learner, metrics = sac.update_critic(
        agent,
        learner,
        lambda critic: critic_loss(config, agent, critic, batch, target, proposals, real_rows, weight),
    )
    if config.weighting == "learned":
        log_weight = update_weight(config, log_weight, metrics["conservative"])
    return learner, log_weight, metrics | {"conservative_weight": weight * config.conservative_weight}
