"""MOBILE: model-Bellman inconsistency as the penalty (Sun et al. 2023, ICML, proceedings v202/sun23q).

SAC on data and unpenalized model rollouts. On a model row the Bellman target itself is lowered by how much the elites
disagree about the value of what follows,

    y = max(0, r - beta std_i V_i(s, a) + gamma discount min_c Qbar_c(s', a')),      V_i: `next_values`.
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


class MOBILEConfig(SpreadConfig):
    """What MOBILE adds to its neighbours."""

    penalty_weight: Number = Field(0.5, ge=0, le=1000, description="beta, weight of the inconsistency")
    penalize_terminals: bool = Field(True, description="penalize model rows that end the episode like all others")
    entropy_in_target: bool = Field(False, description="subtract alpha log pi in the Bellman target")


def inconsistency(values: Array) -> Array:
    """std_i V_i with the n - 1 divisor: [elites, B] -> [B]."""
    return values.std(axis=0, ddof=1)


def target(
    config: MOBILEConfig, agent: SAC, state: BranchedState, batch: Transition, key: Key
) -> tuple[Array, Metrics]:
    """y of a mixed batch; the penalty is 0 on its data rows, and on terminal rows too where they are exempt."""
    penalty = spread(config, agent, state, batch, inconsistency, key)
    penalty = penalty if config.penalize_terminals else penalty * batch.discount
    y, metrics = lowered_backup(config, agent, state, batch, key, reward_penalty=config.penalty_weight * penalty)
    return y, metrics | {"penalty": mean_on_model_rows(config, penalty)}


def build(problem: Problem, config: MOBILEConfig, steps: int) -> Algorithm:
    """MOBILE's functions for a run of `steps` gradient steps; `UserError` where fewer than two elites are kept."""
    require_two_elites(config)
    return branched.build(problem, config, steps, partial(target, config))


DEFINITION = Definition(
    name="mobile",
    title="Model-Bellman Inconsistency for Model-based Offline RL",
    paper="Sun et al., ICML 2023",
    equation="y = max(0, r - beta std_i[ mean_k min_c Qbar_c(s'_ik, a'_ik) ] + gamma (1 - done) min_c Qbar_c(s', a'))",
    config=MOBILEConfig,
    build=build,
    pretraining=branched.dynamics,
    deviations=(
        "The critic loss sums the critics' squared errors, where the official code averages them: a factor of 2 that "
        "Adam removes.",
        "The actor's rate falls at every step along its half cosine; the official code steps it once per 1000 updates.",
        "The penalty is computed on model rows alone; the official code computes it on all and zeroes the data rows.",
        "The hopper's termination rule bounds components on both sides; public copies bound them from above only.",
    ),
    across_tasks=True,
)
