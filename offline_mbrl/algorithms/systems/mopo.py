"""MOPO: model-based offline policy optimization (Yu et al. 2020, arXiv 2005.13239).

SAC on data and branched model rollouts whose reward is lowered by the model's uncertainty,

    r~ = r - lambda u(s, a).
"""

from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition
from offline_mbrl.algorithms.parts import branched
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.rollout import Rollout, ensemble_model, flatten
from offline_mbrl.dynamics.uncertainty import PENALTIES, PenaltyName
from offline_mbrl.errors import UserError
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Data, Key, Metrics, Problem


class MOPOConfig(BranchedConfig):
    """What MOPO adds to its neighbours."""

    penalty: PenaltyName = Field("max_aleatoric", description="u, the measure of uncertainty")
    penalty_weight: float = Field(1.0, ge=0, le=1000, description="lambda; its start when it is tuned")
    tuning: Literal["fixed", "automatic"] = Field("fixed", description="whether lambda is tuned to the penalty goal")
    penalty_goal: float = Field(1.5, gt=0, description="E[lambda u] that automatic tuning holds")
    penalty_lr: float = Field(0.01, gt=0, description="Adam rate of log lambda under automatic tuning")


class MOPOState(BranchedState):
    """A branched actor-critic's state, and the penalty's weight."""

    log_weight: TrainState  # log lambda


def penalize(made: Rollout, weight: Array) -> Rollout:
    """r~ = r - lambda_j u for every step j of the branch, weight [h]."""
    reward = made.rows.reward - weight[:, None] * made.uncertainty
    return made._replace(rows=made.rows._replace(reward=reward))


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


def build(problem: Problem, config: MOPOConfig, steps: int) -> Algorithm:
    """MOPO's functions for a run of `steps` gradient steps; `UserError` where lambda is tuned from 0."""
    if config.tuning == "automatic" and not config.penalty_weight:
        raise UserError("mopo tunes the logarithm of penalty_weight, which cannot start at 0; set it above 0")
    base = branched.build(problem, config, steps)
    penalty = PENALTIES[config.penalty]
    weight_optimizer = optax.adam(config.penalty_lr)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> MOPOState:
        start: BranchedState = base.init(key, data, ensemble)
        log_weight = TrainState.create(jnp.log(jnp.float32(config.penalty_weight)), weight_optimizer)
        return MOPOState(start.learner, start.ensemble, start.imagined, log_weight)

    def refresh(state: MOPOState, data: Data, key: Key) -> tuple[MOPOState, Metrics]:
        model = ensemble_model(state.ensemble, problem.terminates, penalty)
        policy = lambda obs, key: base.act(state, obs, key, False)  # noqa: E731
        made = branched.branch(config, model, policy, data, key)
        log_weight, weight = state.log_weight, jnp.full(config.horizon, config.penalty_weight)
        if config.tuning == "automatic":
            u = branched.mean_uncertainty(made)
            log_weight, weight = tune(log_weight, u, config.penalty_goal, weight_optimizer)
        made = penalize(made, weight)
        imagined = ring.push(state.imagined, *flatten(made))
        metrics = branched.rollout_metrics(made) | {"penalty_weight": weight[-1]}
        return state.replace(imagined=imagined, log_weight=log_weight), metrics

    return replace(base, init=init, refresh=refresh)


DEFINITION = Definition(
    name="mopo",
    title="Model-based Offline Policy Optimization",
    paper="Yu et al., NeurIPS 2020, arXiv 2005.13239",
    equation="r~(s,a) = r(s,a) - lambda u(s,a);  SAC on floor(0.05 * 256) data rows + imagined rows",
    config=MOPOConfig,
    build=build,
    ensemble=lambda config: config.dynamics,
    deviations=(
        "Next observations are the true ones of the file; the official code trains its model on the next episode's "
        "reset state at every terminal.",
        "The step order is critics, actor, temperature, targets (OfflineRL-Kit); the official code takes all gradients "
        "at the old parameters.",
        "The hopper's termination rule bounds components on both sides; public copies bound them from above only.",
        "All rows of medium-expert are used; the official replay pool keeps the last million.",
        "Alpha is clamped to at most 1 and the actor's log-std to [-5, 2] (OfflineRL-Kit); the official code clamps "
        "only the latter, to [-20, 2].",
    ),
)
