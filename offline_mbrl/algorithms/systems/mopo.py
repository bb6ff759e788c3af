"""MOPO: model-based offline policy optimization (Yu et al. 2020, arXiv 2005.13239).

SAC on data and branched model rollouts whose reward is lowered by the model's uncertainty,

    r~ = r - lambda u(s, a).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_rows
from offline_mbrl.algorithms.parts import branched, sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.config import Number
from offline_mbrl.dynamics.ensemble import Ensemble, draw, pick, predict, sample_members
from offline_mbrl.dynamics.rollout import Rollout, ensemble_model
from offline_mbrl.dynamics.uncertainty import PENALTIES, Penalty, PenaltyName, max_aleatoric, require_noise
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

MATCHED_ROWS = 4096
"""Data rows over which penalties are compared."""


class MOPOConfig(BranchedConfig):
    """What MOPO adds to its neighbours."""

    penalty: PenaltyName = Field("max_aleatoric", description="u, the measure of uncertainty")
    penalty_weight: Number = Field(1.0, ge=0, le=1000, description="lambda; its start when it is tuned")
    tuning: Literal["fixed", "matched", "automatic"] = Field(
        "fixed",
        description="lambda as it is; scaled so that lambda E[u] over data rows is that of max_aleatoric; "
        "or tuned to the penalty goal",
    )
    penalty_goal: Number = Field(1.5, gt=0, description="E[lambda u] that automatic tuning holds")
    penalty_lr: Number = Field(0.01, gt=0, description="Adam rate of log lambda under automatic tuning")


class MOPOState(BranchedState):
    """A branched actor-critic's state, and the penalty's weight."""

    log_weight: TrainState  # log lambda


@dataclass(frozen=True)
class MOPO:
    """The static half: settings, actor-critic, and the optimizer of log lambda."""

    config: MOPOConfig
    agent: SAC
    weight_optimizer: optax.GradientTransformation


def penalize(rollout: Rollout, weight: Array) -> Rollout:
    """r~ = r - lambda_j u for every step j of the branch, weight [h]."""
    reward = rollout.rows.reward - weight[:, None] * rollout.uncertainty
    return rollout._replace(rows=rollout.rows._replace(reward=reward))


def tune(
    log_weight: TrainState, uncertainty: Array, goal: float, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Array]:
    """One Adam step of log lambda for each step of the branch, down log lambda * sg(lambda u - goal).

    Args:
      log_weight: log lambda before the refresh.
      uncertainty: [h] mean u of each step.
      goal: what E[lambda u] is held to.
      optimizer: of log lambda.

    Returns:
      The new log lambda and the lambda [h] that each step was penalized with.
    """

    def step(current: TrainState, u: Array) -> tuple[TrainState, Array]:
        weight = jnp.exp(current.params)
        return current.step(weight * u - goal, optimizer), weight

    return jax.lax.scan(step, log_weight, uncertainty)


def scale_to_match(penalty: Penalty, ensemble: Ensemble, rows: Transition, key: Key) -> Array:
    """E[max_i ||sigma_i||] / E[u] over rows: times it, lambda makes u cost there what MOPO's own penalty does."""
    prediction = predict(ensemble, rows.obs, rows.action)
    member = sample_members(ensemble, stream(key, "elite"), rows.reward.shape[0])
    drawn = draw(pick(prediction, member), stream(key, "noise"))
    return max_aleatoric(prediction, member).mean() / penalty(prediction, member, drawn).mean()


def init(mopo: MOPO, key: Key, data: Data, pretrained: Pretrained) -> MOPOState:
    """A branched actor-critic with log lambda at its start."""
    config, start = mopo.config, branched.init(mopo.config, mopo.agent, key, data, pretrained)
    log_weight = jnp.log(jnp.asarray(config.penalty_weight, jnp.float32))
    if config.tuning == "matched":
        rows = sample_rows(data, stream(key, "matched"), MATCHED_ROWS)
        log_weight += jnp.log(scale_to_match(PENALTIES[config.penalty], start.ensemble, rows, stream(key, "scale")))
    return branched.extend(MOPOState, start, log_weight=TrainState.create(log_weight, mopo.weight_optimizer))


def refresh(mopo: MOPO, state: MOPOState, data: Data, key: Key) -> tuple[MOPOState, Metrics]:
    """Branches of the policy in the world, their rewards lowered by lambda u, in the ring."""
    config = mopo.config
    model = ensemble_model(state.ensemble, mopo.agent.problem.terminates, PENALTIES[config.penalty])
    rollout = branched.branch(config, model, branched.policy_of(mopo.agent, state), data, key)
    log_weight, weight = state.log_weight, jnp.full(config.horizon, config.penalty_weight)
    if config.tuning == "matched":
        weight = jnp.full(config.horizon, jnp.exp(log_weight.params))
    if config.tuning == "automatic":
        u = branched.mean_uncertainty(rollout)
        log_weight, weight = tune(log_weight, u, config.penalty_goal, mopo.weight_optimizer)
    state, metrics = branched.keep(state.replace(log_weight=log_weight), penalize(rollout, weight))
    return state, metrics | {"penalty_weight": weight[-1]}


def build(problem: Problem, config: MOPOConfig, steps: int) -> Algorithm:
    """MOPO's functions for a run of `steps` gradient steps.

    Raises:
      UserError: lambda is tuned from 0, or the penalty needs a noise that the kind of model does not predict.
    """
    if config.tuning == "automatic" and isinstance(config.penalty_weight, float) and config.penalty_weight == 0:
        raise UserError("mopo tunes the logarithm of penalty_weight, which cannot start at 0; set it above 0")
    require_noise(config.penalty, config.dynamics.kind)
    mopo = MOPO(config, sac.make(problem, config, steps), optax.adam(config.penalty_lr))
    return replace(branched.build(problem, config, steps), init=partial(init, mopo), refresh=partial(refresh, mopo))


DEFINITION = Definition(
    name="mopo",
    title="Model-based Offline Policy Optimization",
    paper="Yu et al., NeurIPS 2020, arXiv 2005.13239",
    equation="r~(s,a) = r(s,a) - lambda u(s,a);  SAC on floor(0.05 * 256) data rows + imagined rows",
    config=MOPOConfig,
    build=build,
    pretraining=branched.dynamics,
    deviations=(
        "Next observations are the true ones of the file; the official code trains its model on the next episode's "
        "reset state at every terminal.",
        "The step order is critics, actor, temperature, targets (OfflineRL-Kit); the official code takes all gradients "
        "at the old parameters.",
        "The hopper's termination rule bounds components on both sides; public copies bound them from above only.",
        "All rows of medium-expert are used; the official replay pool keeps the last million.",
        "Alpha is clamped to at most 1 and the actor's log-std to [-5, 2] (OfflineRL-Kit); the official code clamps "
        "only the latter, to [-20, 2], as the preset `official-v0` does.",
        "The density of a squashed action is exact; the peers add 1e-6 inside its logarithm.",
        'Networks start from Glorot-uniform weights, as the official code\'s; `init = "torch"`, in the preset `kit`, '
        "draws them as OfflineRL-Kit's library does.",
    ),
    across_tasks=True,
)
