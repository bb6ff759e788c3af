"""MOBILE: model-Bellman inconsistency as the penalty (Sun et al. 2023, ICML, proceedings v202/sun23q).

SAC on data and unpenalized model rollouts. On a model row the Bellman target itself is lowered by how much the elites
disagree about the value of what follows,

    y = max(0, r - beta std_i V_i(s, a) + gamma discount min_c Qbar_c(s', a')),      V_i: `next_values`.
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


class MOBILEConfig(BranchedConfig):
    """What MOBILE adds to its neighbours."""

    penalty_weight: float = Field(0.5, ge=0, le=1000, description="beta, weight of the inconsistency")
    next_samples: int = Field(10, ge=1, le=1000, description="K, next states drawn from each elite")
    penalize_terminals: bool = Field(True, description="penalize model rows that end the episode like all others")
    floor_at_zero: bool = Field(True, description="raise targets below 0 to 0: right where returns are not negative")
    entropy_in_target: bool = Field(False, description="subtract alpha log pi in the Bellman target")


def inconsistency(values: Array) -> Array:
    """std_i V_i with the n - 1 divisor: [elites, B] -> [B]."""
    return values.std(axis=0, ddof=1)


def penalized_target(reward: Array, backup: Array, penalty: Array, beta: float, floor: bool) -> Array:
    """y = r - beta p + backup, with backup = gamma discount V(s'); not below 0 where `floor`. All [B]."""
    target = reward - beta * penalty + backup
    return jnp.maximum(target, 0.0) if floor else target


def target(
    config: MOBILEConfig, agent: SAC, state: BranchedState, batch: Transition, key: Key
) -> tuple[Array, Metrics]:
    """y of a mixed batch; the penalty is 0 on its data rows, and on terminal rows too where they are exempt."""
    imagined = jax.tree.map(lambda leaf: leaf[config.real_rows :], batch)
    values = next_values(agent, state, imagined, config.next_samples, stream(key, "members"))
    penalty = on_model_rows(config, inconsistency(values))
    penalty = penalty if config.penalize_terminals else penalty * batch.discount
    value = sac.next_value(agent, state.learner, batch.next_obs, stream(key, "value"))
    backup = config.discount * batch.discount * value
    y = penalized_target(batch.reward, backup, penalty, config.penalty_weight, config.floor_at_zero)
    mean_penalty = penalty.sum() / max(config.batch_size - config.real_rows, 1)
    return jax.lax.stop_gradient(y), {"penalty": mean_penalty, "floored": (y == 0.0).mean()}


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
    ensemble=lambda config: config.dynamics,
    deviations=(
        "The critic loss sums the critics' squared errors, where the official code averages them: a factor of 2 that "
        "Adam removes.",
        "The actor's rate falls at every step along its half cosine; the official code steps it once per 1000 updates.",
        "The penalty is computed on model rows alone; the official code computes it on all and zeroes the data rows.",
        "The hopper's termination rule bounds components on both sides; public copies bound them from above only.",
    ),
)
