"""MICRO: a conservative Bellman operator over the ensemble's next states (Liu et al. 2024, IJCAI, arXiv 2312.03991).

SAC on data and unpenalized model rollouts. A data row keeps the standard target; on a model row the value of the next
state is moved toward the worst that any elite predicts,

    y = max(0, r + gamma discount [ V(s') - beta f(s, a) ]),      f = mean_i V_i - min_i V_i >= 0,

with V_i of `next_values`. In expectation over the elite that made the row this is
r + gamma [(1 - beta) mean_i V_i + beta min_i V_i]: beta 0 is the standard operator and beta 1 the robust one.
"""

from functools import partial

from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition
from offline_mbrl.algorithms.parts import branched
from offline_mbrl.algorithms.parts.branched import BranchedState
from offline_mbrl.algorithms.parts.next_values import (
    SpreadConfig,
    lowered_backup,
    mean_on_model_rows,
    require_two_elites,
    spread,
)
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.config import Number
from offline_mbrl.types import Array, Key, Metrics, Problem, Transition


class MICROConfig(SpreadConfig):
    """What MICRO adds to its neighbours; the paper's model data proportion is 1 - `real_ratio`."""

    gap_weight: Number = Field(0.5, ge=0, le=1000, description="beta, how far toward the worst elite the target goes")


def gap(values: Array) -> Array:
    """f = mean_i V_i - min_i V_i: [elites, B] -> [B], never negative."""
    return values.mean(axis=0) - values.min(axis=0)


def target(config: MICROConfig, agent: SAC, state: BranchedState, batch: Transition, key: Key) -> tuple[Array, Metrics]:
    """y of a mixed batch; the gap is computed on its model rows alone and is 0 on the data rows."""
    f = spread(config, agent, state, batch, gap, key)
    y, metrics = lowered_backup(config, agent, state, batch, key, value_penalty=config.gap_weight * f)
    return y, metrics | {"gap": mean_on_model_rows(config, f)}


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
    pretraining=branched.dynamics,
    deviations=(
        "Equation (8) is that of the official code: the five elites stand for the uncertainty set, each by the mean of "
        "ten draws, so that noise does not enter the minimum.",
        "The critic loss sums the critics' squared errors, where the official code averages them: a factor of 2 that "
        "Adam removes.",
        "The actor's rate falls at every step along its half cosine; the official code steps it once per 1000 updates.",
        "The hopper's termination rule bounds components on both sides; the official code bounds them from above only.",
    ),
    across_tasks=True,
)
