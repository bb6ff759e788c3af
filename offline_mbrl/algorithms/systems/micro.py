"""MICRO: a conservative Bellman operator over the ensemble's next states (Liu et al. 2024, IJCAI, arXiv 2312.03991).

SAC on data and unpenalized model rollouts. A data row keeps the standard target; on a model row the value of the next
state is moved toward the worst that any elite predicts,

    y = max(0, r + gamma discount [ V(s') - beta f(s, a) ]),      f = mean_i V_i - min_i V_i >= 0,

with V_i of `next_values`. In expectation over the elite that made the row this is
r + gamma [(1 - beta) mean_i V_i + beta min_i V_i]: beta 0 is the standard operator and beta 1 the robust one.
"""

from functools import partial

import jax
import jax.numpy as jnp
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition
from offline_mbrl.algorithms.parts import branched, sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.next_values import next_values, on_model_rows, require_two_elites
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Key, Metrics, Problem, Transition


class MICROConfig(BranchedConfig):
    """What MICRO adds to its neighbours; the paper's model data proportion is 1 - `real_ratio`."""

    gap_weight: float = Field(0.5, ge=0, le=1000, description="beta, how far toward the worst elite the target goes")
    next_samples: int = Field(10, ge=1, le=1000, description="next states drawn from each elite")
    floor_at_zero: bool = Field(True, description="raise targets below 0 to 0: right where returns are not negative")


def gap(values: Array) -> Array:
    """f = mean_i V_i - min_i V_i: [elites, B] -> [B], never negative."""
    return values.mean(axis=0) - values.min(axis=0)


def conservative_target(reward: Array, discount: Array, value: Array, gap: Array, beta: float, floor: bool) -> Array:
    """y = r + discount (V(s') - beta f), with discount = gamma (1 - done); not below 0 where `floor`. All [B]."""
    target = reward + discount * (value - beta * gap)
    return jnp.maximum(target, 0.0) if floor else target


def target(config: MICROConfig, agent: SAC, state: BranchedState, batch: Transition, key: Key) -> tuple[Array, Metrics]:
    """y of a mixed batch; the gap is computed on its model rows alone and is 0 on the data rows."""
    imagined = jax.tree.map(lambda leaf: leaf[config.real_rows :], batch)
    values = next_values(agent, state, imagined, config.next_samples, stream(key, "members"))
    f = on_model_rows(config, gap(values))
    value = sac.next_value(agent, state.learner, batch.next_obs, stream(key, "value"))
    discount = config.discount * batch.discount
    y = conservative_target(batch.reward, discount, value, f, config.gap_weight, config.floor_at_zero)
    mean_gap = f.sum() / max(config.batch_size - config.real_rows, 1)
    return jax.lax.stop_gradient(y), {"gap": mean_gap, "floored": (y == 0.0).mean()}


def build(problem: Problem, config: MICROConfig, steps: int) -> Algorithm:
    """MICRO's functions for a run of `steps` gradient steps; `UserError` where fewer than two elites are kept."""
    require_two_elites(config)
    return branched.build(problem, config, steps, partial(target, config))


DEFINITION = Definition(
    name="micro",
    title="Model-based Offline RL with a Conservative Bellman Operator",
    paper="Liu et al., IJCAI 2024, arXiv 2312.03991",
    equation="y = max(0, r + gamma (1 - done) [ V(s') - beta (mean_i V_i - min_i V_i) 1{model row} ])",
    config=MICROConfig,
    build=build,
    ensemble=lambda config: config.dynamics,
    deviations=(
        "Equation (8) is that of the official code: the five elites stand for the uncertainty set, each by the mean of "
        "ten draws, so that noise does not enter the minimum.",
        "The critic loss sums the critics' squared errors, where the official code averages them: a factor of 2 that "
        "Adam removes.",
        "The actor's rate falls at every step along its half cosine; the official code steps it once per 1000 updates.",
        "The hopper's termination rule bounds components on both sides; the official code bounds them from above only.",
        "Networks start from Glorot-uniform weights; the official code keeps its library's default.",
    ),
)
