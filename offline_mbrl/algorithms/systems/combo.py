"""COMBO: conservative offline model-based policy optimization (Yu et al. 2021, arXiv 2102.08363).

SAC on data and branched model rollouts, whose critics are pushed down at rho's states and up on the data:

    min_Q  mean_{d_f} (Q - y)^2 + beta { E_{s ~ rho} log integral exp Q(s, a) da - E_{(s,a) ~ D} Q(s, a) },

with d_f a share f of data rows and 1 - f of imagined ones. No reward is penalized.
"""

from dataclasses import replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained
from offline_mbrl.algorithms.parts import branched, conservative, sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.conservative import ConservativeConfig, Group, Proposals
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.config import Number, Widths
from offline_mbrl.dynamics.rollout import ensemble_model
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import Params
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class COMBOConfig(ConservativeConfig, BranchedConfig):
    """Branched rollouts, the conservative term, and where and with which actions it is measured."""

    lse_group: Group = Field(
        "kinds",
        description="what one log-sum-exp runs over: one proposal of each kind (3-way, OfflineRL-Kit), "
        "all proposals of a state (30-way), or the batch flattened",
    )
    rollout_policy: Literal["policy", "uniform"] = Field(
        "policy", description="mu, whose actions branches take: the policy's, or uniform ones"
    )

    hidden: Widths = (256, 256, 256)
    temperature_max: Number | None = Field(None, gt=0, description="upper clamp of the learned alpha; none when absent")
    entropy_in_target: bool = Field(False, description="subtract alpha log pi in the Bellman target")
    real_ratio: float = Field(0.5, ge=0, le=1, description="f, share of data rows in a batch, rounded down")
    rho: Literal["mixed", "model"] = Field("mixed", description="states pushed down: the whole batch or imagined rows")
    prior: Literal["uniform", "previous-proposal", "previous-prior"] = Field(
        "uniform",
        description="proposals beside the policy's: uniform actions; an earlier policy's, importance weighted; "
        "or an earlier policy's alone, unweighted",
    )
    prior_lag: int = Field(1, ge=1, description="gradient steps between copies of the earlier policy")


class Previous(struct.PyTreeNode):
    """An earlier actor."""

    actor: Params
    step: Array  # int32, gradient steps taken


class COMBOState(BranchedState):
    """A branched actor-critic's state, the learned weight's, and the prior's."""

    log_weight: TrainState  # log w of the conservative term
    previous: Previous | None


def remember(previous: Previous, actor: Params, lag: int) -> Previous:
    """Copies `actor` at every `lag`-th step and keeps the copy in between: it is 1 to `lag` steps old when used."""
    due = previous.step % lag == 0
    actors = jax.tree.map(lambda new, old: jnp.where(due, new, old), actor, previous.actor)
    return Previous(actors, previous.step + 1)


def propose(
    config: COMBOConfig, agent: SAC, actor: Params, previous: Params | None, rows: Transition, key: Key
) -> Proposals:
    """The actions at which the critics are pushed down, N_a of each kind, all judged at s.

    uniform            pi(.|s), pi(.|s') and the uniform law, importance weighted: CQL(H)
    previous-proposal  an earlier policy in the uniform law's place: the same log-integral from narrower proposals
    previous-prior     an earlier policy alone, its density not divided out: CQL(rho), a penalty relative to it
    """
    count = config.action_samples
    earlier = None
    if previous is not None:
        earlier = conservative.policy_draws(agent, previous, rows.obs, count, stream(key, "previous"))
        if config.prior == "previous-prior":
            return conservative.propose(rows.obs, earlier._replace(log_density=jnp.zeros_like(earlier.log_density)))
    return conservative.propose(
        rows.obs,
        conservative.policy_draws(agent, actor, rows.obs, count, stream(key, "policy")),
        conservative.policy_draws(agent, actor, rows.next_obs, count, stream(key, "next_policy")),
        earlier or conservative.uniform_draws(count, rows.action, stream(key, "uniform")),
    )


def pushed_rows(config: COMBOConfig, batch: Transition) -> Transition:
    """The rows whose states are rho's: all of a batch, or those after its data rows."""
    return batch if config.rho == "mixed" else branched.model_rows(config, batch)


def check(config: COMBOConfig) -> None:
    """Both expectations of the term need rows in a batch."""
    if config.maximize_data and not config.real_rows:
        raise UserError("combo needs data rows in a batch: raise real_ratio or batch_size, or set maximize_data=false")
    if config.rho == "model" and config.real_rows == config.batch_size:
        raise UserError("combo with rho=model needs imagined rows in a batch: lower real_ratio")


def init(config: COMBOConfig, agent: SAC, key: Key, data: Data, pretrained: Pretrained) -> COMBOState:
    """A branched actor-critic, w = 1, and where it is asked for a copy of the actor."""
    start = branched.init(config, agent, key, data, pretrained)
    earlier = Previous(jax.tree.map(jnp.copy, start.learner.actor.params), jnp.zeros((), jnp.int32))
    return branched.extend(
        COMBOState,
        start,
        log_weight=conservative.init_weight(config),
        previous=None if config.prior == "uniform" else earlier,
    )


def update(
    config: COMBOConfig, agent: SAC, state: COMBOState, batch: Transition, key: Key
) -> tuple[COMBOState, Metrics]:
    """Actor and temperature, then the critics with the conservative term, then the targets."""
    previous = state.previous and remember(state.previous, state.learner.actor.params, config.prior_lag)
    learner, actor_metrics = sac.update_actor(agent, state.learner, batch.obs, stream(key, "actor"))
    target = sac.bellman_target(agent, learner, batch, stream(key, "target"))
    rows, earlier = pushed_rows(config, batch), previous and previous.actor
    proposals = propose(config, agent, learner.actor.params, earlier, rows, stream(key, "proposals"))
    learner, log_weight, critic_metrics = conservative.update_critic(
        config, agent, learner, state.log_weight, batch, target, proposals, config.real_rows
    )
    learner = sac.update_target(agent, learner)
    state = state.replace(learner=learner, log_weight=log_weight, previous=previous)
    return state, critic_metrics | actor_metrics


def uniform_action(action_dim: int, obs: Array, key: Key) -> Array:
    """An action uniform in [-1, 1]^m at each of obs [B, d], whatever was observed."""
    return jax.random.uniform(key, (*obs.shape[:-1], action_dim), minval=-1.0, maxval=1.0)


def refresh(config: COMBOConfig, agent: SAC, state: COMBOState, data: Data, key: Key) -> tuple[COMBOState, Metrics]:
    """Branches under mu in the world as it was fitted, in the ring."""
    model = ensemble_model(state.ensemble, agent.problem.terminates)
    policy = branched.policy_of(agent, state)
    if config.rollout_policy == "uniform":
        policy = partial(uniform_action, agent.problem.action_dim)
    return branched.keep(state, branched.branch(config, model, policy, data, key))


def build(problem: Problem, config: COMBOConfig, steps: int) -> Algorithm:
    """COMBO's functions for a run of `steps` gradient steps; `UserError` where the term would have no rows."""
    check(config)
    agent = sac.make(problem, config, steps)
    return replace(
        branched.build(problem, config, steps),
        init=partial(init, config, agent),
        refresh=partial(refresh, config, agent),
        update=partial(update, config, agent),
    )


DEFINITION = Definition(
    name="combo",
    title="Conservative Offline Model-Based Policy Optimization",
    paper="Yu et al., NeurIPS 2021, arXiv 2102.08363",
    equation="min_Q mean_{d_f} (Q - y)^2 + beta { E_rho log sum_a exp Q(s,a) - E_D Q(s,a) };  SAC's actor",
    config=COMBOConfig,
    build=build,
    pretraining=branched.dynamics,
    deviations=(
        "No official code is public; the step is OfflineRL-Kit's, whose log-sum-exp runs over 3 proposals at a time: "
        "its beta were chosen for that. The preset `thirty-way` runs over all 30 of a state, as the official CQL code.",
        "The density of a squashed action is exact; OfflineRL-Kit adds 1e-6 inside its logarithm.",
        'Networks start from Glorot-uniform weights; `init = "torch"` draws them as OfflineRL-Kit\'s library does.',
        "The earlier policy is copied every `prior_lag` steps, so that it is 1 to `prior_lag` steps old when used.",
        "A learned weight acts from the next step on; in the course project that proposed it, from the same step on.",
    ),
    version=2,
    across_tasks=True,
)
