"""CQL: conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779), in its CQL(H) form.

SAC on the data whose critics also pay for valuing the policy's and random actions above the logged ones:

    min_Q  mean (Q - y)^2 + beta { mean_s log integral exp Q(s, a) da - mean_data Q(s, a) }.

Over a first share of the run the actor clones the data: alpha log pi(a|s) - log pi(a_data|s).
"""

from dataclasses import dataclass
from functools import partial

import chex
import jax.numpy as jnp
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_rows
from offline_mbrl.algorithms.parts import conservative, sac
from offline_mbrl.algorithms.parts.conservative import ConservativeConfig, Proposals
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig, SACState
from offline_mbrl.config import Number, Widths
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import Params, action_log_prob, tanh_gaussian
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class CQLConfig(ConservativeConfig, SACConfig):
    """SAC's settings, the conservative term's, and the warm start."""

    hidden: Widths = (256, 256, 256)
    actor_lr_decay: bool = Field(False, description="cosine decay of the actor's rate to 0 over the run")
    temperature_max: Number | None = Field(None, gt=0, description="upper clamp of the learned alpha; none when absent")
    entropy_in_target: bool = Field(False, description="subtract alpha log pi in the Bellman target")
    warm_start: float = Field(0.04, ge=0, le=1, description="share of the run in which the actor clones the data")


class CQLState(struct.PyTreeNode):
    """An actor-critic, the learned weight and the count that ends the warm start."""

    learner: SACState
    log_weight: TrainState  # log w of the conservative term
    step: Array  # int32, gradient steps taken


@dataclass(frozen=True)
class CQL:
    """The static half: an actor-critic, the term's settings, and the gradient steps of the warm start."""

    config: CQLConfig
    agent: SAC
    warm_steps: int


def make(problem: Problem, config: CQLConfig, steps: int) -> CQL:
    """CQL for a run of `steps` gradient steps."""
    return CQL(config, sac.make(problem, config, steps), int(config.warm_start * steps))


def init(cql: CQL, key: Key, data: Data, pretrained: Pretrained) -> CQLState:
    """A fresh actor-critic, w = 1 and no step taken."""
    return CQLState(sac.init(cql.agent, key), conservative.init_weight(cql.config), jnp.zeros((), jnp.int32))


def sample(cql: CQL, state: CQLState, data: Data, key: Key) -> Transition:
    """Rows of the data."""
    return sample_rows(data, key, cql.config.batch_size)


def warm_actor_loss(
    agent: SAC, actor: Params, state: SACState, obs: Array, key: Key, *, logged: Array, cloning: Array
) -> tuple[Array, Array]:
    """mean_b [ alpha log pi(a|s) - log pi(a_b|s) ] while `cloning`, SAC's loss after; also mean log pi.

    Both are computed and one is chosen: a branch on the step would run both under `vmap` too, and the likelihood costs
    nothing beside the critics.

    Args:
      agent: the actor-critic.
      actor: weights that the gradient is taken of.
      state: critics and alpha.
      obs: [B, d].
      key: of a.
      logged: [B, m] the data's actions a_b at obs.
      cloning: bool scalar.
    """
    mean, log_std = sac.policy_parameters(agent, actor, obs)
    action, log_prob = tanh_gaussian(mean, log_std).sample_and_log_prob(seed=key)
    value = sac.q_values(agent, state.critic.params, obs, action).min(axis=0)
    likelihood = action_log_prob(mean, log_std, logged)
    chex.assert_equal_shape((value, likelihood, log_prob))
    gain = jnp.where(cloning, likelihood, value)
    return (sac.alpha(agent, state) * log_prob - gain).mean(), log_prob.mean()


def propose(config: CQLConfig, agent: SAC, actor: Params, batch: Transition, key: Key) -> Proposals:
    """N_a actions of pi(.|s), of pi(.|s') and of the uniform law, all judged at s."""
    count = config.action_samples
    return conservative.propose(
        batch.obs,
        conservative.policy_draws(agent, actor, batch.obs, count, stream(key, "policy")),
        conservative.policy_draws(agent, actor, batch.next_obs, count, stream(key, "next_policy")),
        conservative.uniform_draws(count, batch.action, stream(key, "uniform")),
    )


def update_actor(cql: CQL, state: CQLState, batch: Transition, key: Key) -> tuple[CQLState, Metrics]:
    """One step of the actor, a cloning one in the warm start, and one of the temperature."""
    warm = partial(warm_actor_loss, logged=batch.action, cloning=state.step < cql.warm_steps)
    loss = warm if cql.warm_steps else sac.actor_loss
    learner, metrics = sac.update_actor(cql.agent, state.learner, batch.obs, key, loss)
    return state.replace(learner=learner), metrics


def update_critic(cql: CQL, state: CQLState, batch: Transition, key: Key) -> tuple[CQLState, Metrics]:
    """One step of the critics on the new actor's targets and proposals, and one of log w where it is learned."""
    config, agent, learner = cql.config, cql.agent, state.learner
    target = sac.bellman_target(agent, learner, batch, stream(key, "target"))
    proposals = propose(config, agent, learner.actor.params, batch, stream(key, "proposals"))
    learner, log_weight, metrics = conservative.update_critic(
        config, agent, learner, state.log_weight, batch, target, proposals, config.batch_size
    )
    return state.replace(learner=learner, log_weight=log_weight), metrics


def update(cql: CQL, state: CQLState, batch: Transition, key: Key) -> tuple[CQLState, Metrics]:
    """Actor and temperature, then critics, then targets."""
    state, actor_metrics = update_actor(cql, state, batch, stream(key, "actor"))
    state, critic_metrics = update_critic(cql, state, batch, key)
    learner = sac.update_target(cql.agent, state.learner)
    return state.replace(learner=learner, step=state.step + 1), critic_metrics | actor_metrics


def act(cql: CQL, state: CQLState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The actor's action."""
    return sac.act(cql.agent, state.learner.actor.params, obs, key, deterministic)


def value(cql: CQL, state: CQLState, obs: Array, action: Array) -> Array:
    """min_k Q_k(s, a)."""
    return sac.q_values(cql.agent, state.learner.critic.params, obs, action).min(axis=0)


def law(cql: CQL, state: CQLState, obs: Array) -> tuple[Array, Array]:
    """The actor's Gaussian."""
    return sac.policy_parameters(cql.agent, state.learner.actor.params, obs)


def build(problem: Problem, config: CQLConfig, steps: int) -> Algorithm:
    """CQL's functions for a run of `steps` gradient steps."""
    cql = make(problem, config, steps)
    functions = partial(init, cql), partial(sample, cql), partial(update, cql), partial(act, cql)
    return Algorithm(*functions, value=partial(value, cql), law=partial(law, cql), samples_ahead=True)


DEFINITION = Definition(
    name="cql",
    title="Conservative Q-Learning",
    paper="Kumar et al., NeurIPS 2020, arXiv 2006.04779",
    equation="min_Q mean (Q - y)^2 + beta { E_s log sum_a exp Q(s,a) - E_D Q(s,a) };  SAC's actor",
    config=CQLConfig,
    build=build,
    deviations=(
        "The step order is actor, temperature, critics, targets (OfflineRL-Kit); the official code computes the "
        "actor's loss with the critics of before the step and moves the actor last.",
        "The log-sum-exp subtracts log n unless `centered` is off, as in the preset `lagrange`: a constant, which "
        "only a threshold sees.",
        "The learned weight is clamped by projection; the official clamp has no gradient beyond 1e6.",
        "The warm start is a share of the run, 40,000 of a million steps as in the official code.",
    ),
    across_tasks=True,
)
