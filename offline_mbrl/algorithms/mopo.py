"""MOPO: model-based offline policy optimization (Yu et al. 2020, arXiv 2005.13239).

SAC on data and branched model rollouts whose reward is lowered by the model's uncertainty,

    r~ = r - lambda u(s, a).
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms import branched, sac
from offline_mbrl.algorithms.algorithm import Algorithm, Definition
from offline_mbrl.algorithms.branched import BranchedConfig
from offline_mbrl.algorithms.networks import Trained
from offline_mbrl.algorithms.sac import SACState
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.dynamics.rollout import Rollout, ensemble_model, flatten
from offline_mbrl.dynamics.uncertainty import PENALTIES, PenaltyName
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class MOPOConfig(BranchedConfig):
    """What MOPO adds to its neighbours."""

    penalty: PenaltyName = Field("max_aleatoric", description="u, the measure of uncertainty")
    penalty_weight: float = Field(1.0, ge=0, le=1000, description="lambda; its start when it is tuned")
    tuning: Literal["fixed", "automatic"] = Field("fixed", description="whether lambda is tuned to the penalty goal")
    penalty_goal: float = Field(1.5, gt=0, description="E[lambda u] that automatic tuning holds")
    penalty_lr: float = Field(0.01, gt=0, description="Adam rate of log lambda under automatic tuning")


class MOPOState(struct.PyTreeNode):
    """An actor-critic, the fitted world, what was imagined in it, and the penalty's weight."""

    learner: SACState
    ensemble: Ensemble
    imagined: Ring
    log_weight: Trained  # log lambda


def penalize(made: Rollout, weight: Array) -> Rollout:
    """r~ = r - lambda_j u for every step j of the branch, weight [h]."""
    reward = made.rows.reward - weight[:, None] * made.uncertainty
    return made._replace(rows=made.rows._replace(reward=reward))


def tune(
    log_weight: Trained, uncertainty: Array, goal: float, optimizer: optax.GradientTransformation
) -> tuple[Trained, Array]:
    """One Adam step of log lambda for each step of the branch, down log lambda * sg(lambda u - goal).

    Args:
      log_weight: log lambda before the refresh.
      uncertainty: [h] mean u of each step.
      goal: what E[lambda u] is held to.
      optimizer: of log lambda.

    Returns:
      The new log lambda and the lambda [h] that each step was penalized with.
    """

    def step(current: Trained, u: Array) -> tuple[Trained, Array]:
        weight = jnp.exp(current.params)
        return current.step(weight * u - goal, optimizer), weight

    return jax.lax.scan(step, log_weight, uncertainty)


def build(problem: Problem, config: MOPOConfig, steps: int) -> Algorithm:
    """MOPO's functions for a run of `steps` gradient steps."""
    system = sac.make(problem, config, steps)
    penalty = PENALTIES[config.penalty]
    weight_optimizer = optax.adam(config.penalty_lr)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> MOPOState:
        assert ensemble is not None, "MOPO needs a fitted ensemble"
        log_weight = jnp.log(jnp.float32(config.penalty_weight))
        return MOPOState(
            learner=sac.init(system, key),
            ensemble=ensemble,
            imagined=branched.empty_ring(config, problem),
            log_weight=Trained.create(log_weight, weight_optimizer),
        )

    def refresh(state: MOPOState, data: Data, key: Key) -> tuple[MOPOState, Metrics]:
        model = ensemble_model(state.ensemble, problem.terminates, penalty)
        policy = lambda obs, key: sac.act(system, state.learner.actor.params, obs, key, deterministic=False)  # noqa: E731
        made = branched.branch(config, model, policy, data, key)
        log_weight, weight = state.log_weight, jnp.full(config.horizon, config.penalty_weight)
        if config.tuning == "automatic":
            u = branched.mean_uncertainty(made)
            log_weight, weight = tune(log_weight, u, config.penalty_goal, weight_optimizer)
        made = penalize(made, weight)
        imagined = ring.push(state.imagined, *flatten(made))
        metrics = branched.rollout_metrics(made) | {"penalty_weight": weight[-1]}
        return state.replace(imagined=imagined, log_weight=log_weight), metrics

    def sample(state: MOPOState, data: Data, key: Key) -> Transition:
        return branched.mixed_batch(config, state.imagined, data, key)

    def update(state: MOPOState, batch: Transition, key: Key) -> tuple[MOPOState, Metrics]:
        learner, metrics = sac.update(system, state.learner, batch, key)
        return state.replace(learner=learner), metrics

    def act(state: MOPOState, obs: Array, key: Key, deterministic: bool) -> Array:
        return sac.act(system, state.learner.actor.params, obs, key, deterministic)

    return Algorithm(init, sample, update, act, refresh, config.rollout_every)


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
    ),
)
