"""Evaluation beside training: the policy of one period is judged on the CPU while the next period trains."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import jax
import numpy as np

from offline_mbrl.algorithms.algorithm import State
from offline_mbrl.machine import available_cores
from offline_mbrl.nn.precision import computing
from offline_mbrl.training.loop import Program

ENOUGH_CORES = 8
"""Cores from which on a CPU trains and judges faster side by side than in turn: one run does not fill them."""

Result = TypeVar("Result")

Begin = Callable[[State, int], Callable[[], Result]]
"""Begins to judge a state at a step, which may be consumed once this returns; what it gives waits for the result."""


def worthwhile() -> bool:
    """Whether something is gained: an accelerator trains meanwhile, or the CPU has cores to spare."""
    return jax.default_backend() != "cpu" or available_cores() >= ENOUGH_CORES


@contextmanager
def judging(
    judge: Callable[[State, int], Result], program: Program, beside: bool, precision: str
) -> Iterator[Begin[Result]]:
    """Gives a function that begins to judge the states of `program`.

    Args:
      judge: (state as `program.deploy` gives it, step) -> what is found.
      program: whose states are judged.
      beside: by a thread, on a copy in the host's memory of what acting reads, whose network then runs on the CPU;
        otherwise at once, on the device.
      precision: of matrix products, which threads do not inherit.
    """
    if not beside:
        yield partial(_at_once, judge, program)
        return
    cpu = jax.devices("cpu")[0]

    def on_cpu(state: State, step: int) -> Result:
        with jax.default_device(cpu), computing(precision):
            return judge(jax.device_put(state, cpu), step)

    with ThreadPoolExecutor(1) as thread:

        def begin(state: State, step: int) -> Callable[[], Result]:
            acting = program.conclude(program.deploy(state))
            return thread.submit(on_cpu, jax.tree.map(partial(np.array, copy=True), acting), step).result

        yield begin


def _at_once(judge: Callable[[State, int], Result], program: Program, state: State, step: int) -> Callable[[], Result]:
    result = judge(program.deploy(state), step)
    return lambda: result
