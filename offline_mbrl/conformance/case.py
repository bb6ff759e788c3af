"""One system, made small and compiled, and the run that its tests look at."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, State
from offline_mbrl.config import Config
from offline_mbrl.conformance.data import DATA, PROBLEM
from offline_mbrl.conformance.models import barely_fitted
from offline_mbrl.conformance.small import COMMON, OWN, Settings, configure
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.training.loop import Program, compile_program
from offline_mbrl.types import Data, Key

STEPS = 100
"""Length of the run that the system is built for."""

PERIODS = 4
"""Periods that are run of it."""

LONGEST_PERIOD = 20

Metrics = dict[str, np.ndarray]
"""Metrics [seeds] of one period, on the host."""


class Case(NamedTuple):
    """One system with small settings, compiled."""

    definition: Definition
    config: Config
    algorithm: Algorithm
    program: Program

    def models(self, *seeds: int) -> Pretrained:
        """What is fitted before the loop, for each seed; after one epoch here."""
        return barely_fitted(self.definition, self.config, STEPS, seeds)

    def start(self, *seeds: int) -> State:
        return self.program.init(keys(seeds, "init"), DATA, self.models(*seeds))

    def advance(self, state: State, seeds: tuple[int, ...], period: int, data: Data = DATA) -> tuple[State, Metrics]:
        """The period with number `period`; consumes `state`."""
        state, metrics = self.program.advance(state, data, keys(seeds, "train"), period * self.program.period)
        return state, jax.device_get(metrics)

    def programs(self) -> int:
        """How many programs the hot loop was compiled to."""
        return self.program.programs()


class Trained(NamedTuple):
    """What a run left; the states are on the host, so that no further step consumes them."""

    start: State
    state: State
    history: list[Metrics]
    programs: int  # that the hot loop had become by then


def make_case(definition: Definition, small: Settings) -> Case:
    """The system with `small` values laid over those that are small for all."""
    config = configure(definition, COMMON, OWN.get(definition.name, {}) | small)
    algorithm = definition.build(PROBLEM, config, STEPS)
    period = max(4, algorithm.refresh_every)
    if period > LONGEST_PERIOD:
        raise UserError(f"{definition.name} refreshes every {period} steps; give it a smaller interval by --small")
    return Case(definition, config, algorithm, compile_program(algorithm, period))


def train(case: Case, *seeds: int, data: Data = DATA) -> Trained:
    """`PERIODS` periods of `seeds` side by side, on `data` from where they start on `DATA`."""
    state, history = case.start(*seeds), []
    start = jax.device_get(state)
    for period in range(PERIODS):
        state, metrics = case.advance(state, seeds, period, data)
        history.append(metrics)
    return Trained(start, jax.device_get(state), history, case.programs())


def keys(seeds: tuple[int, ...], purpose: str) -> Key:
    """One key for each seed: [seeds]."""
    return jax.vmap(lambda seed: stream(jax.random.key(seed), purpose))(jnp.asarray(seeds, jnp.uint32))
