"""What the measurements share: what they are made on, how they are timed, and the machine's limits."""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.stages import Compiled

from offline_mbrl.data.dataset import to_device
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.registry import pretraining_of
from offline_mbrl.errors import UserError
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.tasks import Task
from offline_mbrl.training import timing
from offline_mbrl.types import Data, Key, Problem

Options = TypeVar("Options")

Line = dict[str, Any]
"""One row of measurements: what is a float was measured, all else says of what."""


class Setup(NamedTuple):
    """What every measurement is made on."""

    task: Task
    problem: Problem
    data: Data
    keys: Key  # [seeds]


def timed(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Median seconds of each call over `repeats`, the calls taking turns so that a noisy moment meets all of them."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for row, call in zip(seconds, calls, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            row.append(time.perf_counter() - start)
    return [median(row) for row in seconds]


def compiled(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[Compiled, float]:
    """`function` compiled for `args`, and the seconds that took."""
    start = time.perf_counter()
    program = jax.jit(function, **options).lower(*args).compile()
    return program, time.perf_counter() - start


def peak_flops() -> float:
    """FLOP/s of a large float32 matrix product at the precision in force: the ceiling of the bounds."""
    size = 2048 if jax.devices()[0].platform == "cpu" else 8192
    x = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(jnp.dot)
    jax.block_until_ready(product(x, x))
    return 2.0 * size**3 / min(timed([lambda: product(x, x)], 5))


def peak_bandwidth() -> float:
    """Bytes/s of adding to an array too large for any cache, read and written: the slope of a roofline."""
    x = jnp.zeros(2**24 if jax.devices()[0].platform == "cpu" else 2**28)
    add = jax.jit(lambda x: x + 1.0)
    jax.block_until_ready(add(x))
    return 2.0 * x.nbytes / min(timed([lambda: add(x)], 5))


def set_up(task: Task, seeds: int, rows: int) -> Setup:
    """Synthetic data of the task's shapes: contents do not move a speed."""
    return set_up_on(task, seeds, to_device(synthetic(task, rows)))


def set_up_tiled(task: Task, seeds: int, rows: int) -> Setup:
    """As `set_up`, the same rows over and over: many are made in no time."""
    few = to_device(synthetic(task, min(rows, 1000)))
    return set_up_on(task, seeds, jax.tree.map(lambda leaf: jnp.resize(leaf, (rows, *leaf.shape[1:])), few))


def set_up_on(task: Task, seeds: int, data: Data) -> Setup:
    """On `data`."""
    return Setup(task, problem_of(task.robot), data, jax.vmap(jax.random.key)(jnp.arange(seeds)))


def dynamics_fit(config: EnsembleConfig, problem: Problem) -> Pretraining:
    """The fit of an ensemble of the problem's shapes."""
    return pretraining_of(config, problem.obs_dim, problem.action_dim)


def peak_memory() -> float:
    """GiB that were in use at most: on the device, or in this process where the device is the CPU."""
    return (timing.peak_memory() or 0) / 2**30


def command(main: Callable[[Options], None], options: Options) -> None:
    """Runs a benchmark; what is wrong with what was asked for is one line."""
    try:
        main(options)
    except UserError as error:
        sys.exit(f"error: {error}")
