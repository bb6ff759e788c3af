"""What XLA makes of the inner loops on a GPU that is not there: kernels and bytes of a step, and a predicted rate."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from fits import epoch_shapes, epoch_steps, fits_of, unit
from gpu import GPU, compile_for, predict
from hlo import cost, kernels_of
from jax.stages import Compiled
from measure import Line, Setup
from relative import make_case, needed_memory
from systems import compile_refresh, updates_program

from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import compile_fit
from offline_mbrl.types import Data, Key

STEPS = 1000
"""Gradient steps of the program that is looked at: what it does once is a thousandth of a step's share."""


def measure_kernels(setup: Setup, gpu: GPU, names: Sequence[str], seeds: int, rows: int) -> Iterator[Line]:
    """Lines for the gradient step and the refresh of each system, and for a step of each of their fits.

    Args:
      setup: for the task alone; nothing is run.
      gpu: compiled for.
      names: NAME or NAME:PRESET.
      seeds: in one program.
      rows: of the data.
    """
    data, keys = data_shapes(setup, rows), key_shapes(seeds)
    for name, pretraining in fits_of(setup, [name.partition(":")[0] for name in names]).items():
        program, steps = compile_epoch(gpu, pretraining, keys, data)
        yield line(gpu, f"{unit(pretraining)} of {name}", program, seeds, steps)
    for name in names:
        for part, program, steps in compile_system(setup, gpu, name, keys, data):
            yield line(gpu, f"{part} of {name}", program, seeds, steps)


def line(gpu: GPU, name: str, program: Compiled, seeds: int, units: float) -> Line:
    """Kernels of one unit of work for all seeds, and what it costs one seed by the model of `gpu.predict`."""
    kernels = kernels_of(program)
    total, seconds = cost(kernels).over(units), predict(gpu, kernels) / units
    return {
        "of": "kernels",
        "program": name,
        "seeds": seeds,
        "kernels": total.kernels,
        "mb": total.bytes / 1e6,
        "us": 1e6 * seconds,
        "predicted_per_s": seeds / seconds,
        "gflop": total.flop / seeds / 1e9,
        "gb": total.bytes / seeds / 1e9,
        "ms": 1e3 * seconds / seeds,
        "memory_gib": needed_memory(program),
    }


def compile_epoch(gpu: GPU, pretraining: Pretraining, keys: Any, data: Any) -> tuple[Compiled, float]:
    """An epoch of a fit, and the steps it has."""
    shapes = epoch_shapes(pretraining, keys, data)
    program = compile_for(gpu, compile_fit(pretraining).epoch, *shapes, donate_argnums=1)
    return program, epoch_steps(pretraining, shapes[0])


def compile_system(setup: Setup, gpu: GPU, name: str, keys: Any, data: Any) -> Iterator[tuple[str, Compiled, float]]:
    """The loop of gradient steps, then the refresh where there is one."""
    case = make_case(setup, name)
    algorithm, pretrained = case.job, widen(case.pretrained, keys.shape[0])
    program = updates_program(algorithm, STEPS // algorithm.steps_per_update * algorithm.steps_per_update)
    state = jax.eval_shape(program.init, keys, data, pretrained)
    yield "update", compile_for(gpu, program.advance, state, data, keys, step(), donate_argnums=0), program.period
    if algorithm.refresh:
        yield "refresh", compile_for(gpu, compile_refresh(algorithm), state, data, keys, donate_argnums=0), 1


def widen(tree: Any, seeds: int) -> Any:
    """Shapes of what was made for one seed, for `seeds` of them."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((seeds, *leaf.shape[1:]), leaf.dtype), tree)


def step() -> jax.ShapeDtypeStruct:
    """The number of a gradient step."""
    return jax.ShapeDtypeStruct((), jnp.int32)


def key_shapes(seeds: int) -> Key:
    """Shapes of the seeds' keys."""
    return jax.eval_shape(lambda: jax.vmap(jax.random.key)(jnp.arange(seeds)))


def data_shapes(setup: Setup, rows: int) -> Data:
    """Shapes of `rows` rows of the task's data."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), setup.data)
