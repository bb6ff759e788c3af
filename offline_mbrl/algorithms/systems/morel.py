"""MOReL-SAC: model-based offline RL in a pessimistic MDP (Kidambi et al. 2020, arXiv 2005.05951), planned by SAC.

A state-action is unknown where the members disagree, and an imagined step from there halts:

    disc(s, a) = max_{i,j} || f_i(s, a) - f_j(s, a) ||_2,      disc > threshold  =>  r = min_D r - kappa, discount 0.

The paper plans with natural policy gradient over whole episodes of this MDP; here SAC plans with short branches from
the data's states, as most suites do, and the results are those of "MOReL-SAC".
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained
from offline_mbrl.algorithms.parts import branched, sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.config import Number
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian, only_elites, predict
from offline_mbrl.dynamics.rollout import Model, ModelStep, ensemble_model
from offline_mbrl.dynamics.uncertainty import Penalty, max_pair
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

INERT = 0.001
"""A share of halted steps below which the pessimism is as good as absent."""

CHUNK = 10_000
"""Data rows whose disagreement is computed at once."""


class MOReLConfig(BranchedConfig):
    """Where the model is unknown and what halting costs."""

    threshold_rule: Literal["mean_std", "quantile"] = Field(
        "quantile", description="threshold from the data's disagreement: mean + k std, or a quantile"
    )
    threshold_scale: Number = Field(5.0, ge=0, le=1000, description="k of mean + k std")
    threshold_quantile: float = Field(0.99, ge=0, le=1, description="share of data rows that count as known")
    halt_penalty: Number = Field(
        50.0, ge=0, description="kappa, how far the halting reward lies below the data's lowest"
    )
    disagreement_units: Literal["scaled", "raw"] = Field(
        "scaled", description="next states in standard deviations of the data's, or as they are"
    )


class MOReLState(BranchedState):
    """A branched actor-critic's state, whose ensemble is the elites alone, and the border of the known."""

    scale: Array  # [d] units of the disagreement
    threshold: Array
    halt_reward: Array


def disagreement(prediction: Gaussian, scale: Array) -> Array:
    """disc = max_{i,j} ||(mu_i^s - mu_j^s) / scale||_2: [B] for a prediction [E, B, d + 1] and scale [d]."""
    scaled = prediction.mean[..., 1:] / scale
    return max_pair(prediction._replace(mean=jnp.concatenate([prediction.mean[..., :1], scaled], -1)), jnp.zeros(()))


def data_disagreement(ensemble: Ensemble, rows: Transition, scale: Array) -> Array:
    """disc at every data row: [n], a chunk at a time."""
    count = rows.reward.shape[0]
    size = min(CHUNK, count)
    index = (jnp.arange(math.ceil(count / size) * size) % count).reshape(-1, size)
    values = jax.lax.map(lambda i: disagreement(predict(ensemble, rows.obs[i], rows.action[i]), scale), index)
    return values.reshape(-1)[:count]


def find_threshold(config: MOReLConfig, disagreements: Array) -> Array:
    """mean + k std of the data's disagreements [n], or their quantile."""
    if config.threshold_rule == "quantile":
        return jnp.quantile(disagreements, config.threshold_quantile)
    return disagreements.mean() + config.threshold_scale * disagreements.std()


def halting_model(
    ensemble: Ensemble, terminates: Callable[[Array], Array], scale: Array, threshold: Array, halt_reward: Array
) -> Model:
    """The pessimistic MDP: a step from an unknown (s, a) earns `halt_reward` and ends; `uncertainty` is disc."""
    model = ensemble_model(ensemble, terminates, Penalty(lambda prediction, _: disagreement(prediction, scale)))

    def step(obs: Array, action: Array, key: Key) -> ModelStep:
        imagined = model(obs, action, key)
        unknown = imagined.uncertainty > threshold
        return imagined._replace(
            reward=jnp.where(unknown, halt_reward, imagined.reward),
            discount=jnp.where(unknown, 0.0, imagined.discount),
        )

    return step


def init(config: MOReLConfig, agent: SAC, key: Key, data: Data, pretrained: Pretrained) -> MOReLState:
    """A branched actor-critic in the world of the elites, and the border of the known in it."""
    start = branched.init(config, agent, key, data, pretrained)
    elites, obs_dim = only_elites(start.ensemble), agent.problem.obs_dim
    scale = elites.inputs.std[:obs_dim] if config.disagreement_units == "scaled" else jnp.ones(obs_dim)
    return branched.extend(
        MOReLState,
        start.replace(ensemble=elites),
        scale=scale,
        threshold=find_threshold(config, data_disagreement(elites, data.transitions, scale)),
        halt_reward=data.transitions.reward.min() - config.halt_penalty,
    )


def refresh(config: MOReLConfig, agent: SAC, state: MOReLState, data: Data, key: Key) -> tuple[MOReLState, Metrics]:
    """Branches of the policy in the pessimistic MDP, in the ring."""
    model = halting_model(state.ensemble, agent.problem.terminates, state.scale, state.threshold, state.halt_reward)
    rollout = branched.branch(config, model, branched.policy_of(agent, state), data, key)
    halted = (rollout.alive & (rollout.uncertainty > state.threshold)).sum() / jnp.maximum(rollout.alive.sum(), 1)
    state, metrics = branched.keep(state, rollout)
    return state, metrics | {"halted": halted, "threshold": state.threshold}


def caution(metrics: Mapping[str, float]) -> str | None:
    """What to doubt where the pessimism hardly acts: the policy then plans in the plain model."""
    halted = metrics.get("halted", 1.0)
    if halted >= INERT:
        return None
    return (
        f"morel halted {100 * halted:.2g} % of imagined steps in the last period, so its threshold hardly acts; "
        "lower threshold_quantile or threshold_scale"
    )


def build(problem: Problem, config: MOReLConfig, steps: int) -> Algorithm:
    """MOReL-SAC's functions for a run of `steps` gradient steps."""
    agent = sac.make(problem, config, steps)
    return replace(
        branched.build(problem, config, steps),
        init=partial(init, config, agent),
        refresh=partial(refresh, config, agent),
    )


DEFINITION = Definition(
    name="morel",
    title="Model-based Offline Reinforcement Learning (SAC planner)",
    paper="Kidambi et al., NeurIPS 2020, arXiv 2005.05951",
    equation="max_{i,j} ||f_i(s,a) - f_j(s,a)|| > threshold  =>  r = min_D r - kappa, discount 0;  SAC on the rest",
    config=MOReLConfig,
    build=build,
    pretraining=branched.dynamics,
    deviations=(
        "The planner is SAC on short branches from data states, not natural policy gradient on whole episodes from "
        "start states: compare with other MOReL-SAC results, not with the paper's table.",
        "The model is the shared probabilistic ensemble; the official one is four deterministic networks of 512 units.",
        "The reward is learned; the official code evaluates the environment's own reward function.",
        "Halting pays min_D r - kappa once and ends; the paper's absorbing state pays -kappa at every later step.",
        "The official code cuts a path at an unknown state without a penalty or a terminal; here halting has both.",
        "The threshold is a quantile of the data's disagreement. Mean + 5 std, the preset `mean-std`, is the paper's "
        "rule in a public reading, and nearly inert here: a few wild rows make the deviation large.",
    ),
    version=2,
    caution=caution,
    across_tasks=True,
)
