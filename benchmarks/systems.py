"""Gradient steps per second of every system, as a run takes them: rows drawn, all seeds in one program.

What stands between blocks of steps (imagined rollouts, RAMBO's adversary) is left out; `periods.py` has the whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from flops import count_flops
from hlo import Cost, cost, kernels_of
from measure import Line, Setup, compiled, timed
from relative import Case, call_steps, make_case

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.training.loop import Program, compile_program

FEW_STEPS = 20


class Updates(NamedTuple):
    """Gradient steps of all seeds, compiled and run once."""

    call: Callable[[], Any]
    steps: int  # of one call, for each seed
    flop: float  # of one step of one seed
    traffic: Cost  # of one step of one seed, as XLA runs it
    compilation_s: float
    temporary: int  # bytes of all seeds' intermediate values


def measure_systems(
    setup: Setup, names: Sequence[str], repeats: int, settings: Mapping[str, Any] | None = None
) -> Iterator[Line]:
    """One line for each system NAME, or NAME:PRESET."""
    for name in names:
        work = updates_work(setup, make_case(setup, name, settings or {}))
        yield {"of": "systems", "system": name, "seeds": setup.keys.shape[0], **measure_updates(setup, work, repeats)}


def measure_updates(setup: Setup, work: Updates, repeats: int) -> Line:
    """The rate, what it costs and what it moves, of one gradient step of one seed."""
    (seconds,) = timed([work.call], repeats)
    rate = setup.keys.shape[0] * work.steps / seconds
    return {
        "updates_per_s": rate,
        "ms": 1e3 / rate,
        "gflop": work.flop / 1e9,
        "gb": work.traffic.bytes / 1e9,
        "compilation_s": work.compilation_s,
    }


def updates_work(setup: Setup, case: Case) -> Updates:
    """The system's gradient steps through the public program, on what one refresh has left."""
    unit, seeds = case.small.steps_per_update, setup.keys.shape[0]
    state = start(setup, case)
    flop = count_flops(updates_program(case.small, unit).advance, state, setup.data, setup.keys, 0) / unit
    steps = max(unit, call_steps(flop) // unit * unit)
    program, seconds = compiled(
        updates_program(case.small, steps).advance, state, setup.data, setup.keys, 0, donate_argnums=0
    )
    holder = [state]

    def call() -> Any:
        holder[0], metrics = program(holder[0], setup.data, setup.keys, 0)
        return metrics

    jax.block_until_ready(call())
    traffic, memory = cost(kernels_of(program)).over(steps * seeds), program.memory_analysis()
    return Updates(call, steps, flop / seeds, traffic, seconds, memory.temp_size_in_bytes if memory else 0)


def updates_program(algorithm: Algorithm, steps: int) -> Program:
    """`steps` gradient steps and nothing before them."""
    return compile_program(replace(algorithm, refresh=None), steps)


def start(setup: Setup, case: Case) -> Any:
    """All seeds' states after one refresh, if there is any, so that there are rows to draw."""
    algorithm = case.small
    state = compile_program(algorithm, algorithm.refresh_every * algorithm.steps_per_update).init(
        setup.keys, setup.data, case.pretrained
    )
    if algorithm.refresh is None:
        return state
    return compile_refresh(algorithm)(state, setup.data, setup.keys)[0]


def compile_refresh(algorithm: Algorithm) -> Callable[..., Any]:
    """What comes before a block of gradient steps, for all seeds; it consumes the states."""
    assert algorithm.refresh is not None
    return jax.jit(jax.vmap(algorithm.refresh, in_axes=(0, None, 0)), donate_argnums=0)


def refresh_call(setup: Setup, case: Case) -> Callable[[], Any]:
    """One refresh of all seeds, compiled and run once."""
    holder, refresh = [start(setup, case)], compile_refresh(case.small)

    def call() -> Any:
        holder[0], metrics = refresh(holder[0], setup.data, setup.keys)
        return metrics

    jax.block_until_ready(call())
    return call
