"""What is fitted before a run's first step: seconds of an epoch, optimizer steps per second, compilations."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
from flops import count_flops
from hlo import cost, kernels_of
from measure import Line, Setup, compiled, timed

from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import compile_fit


def measure_fits(setup: Setup, names: Sequence[str], repeats: int) -> Iterator[Line]:
    """One line for each different fit of the systems `names`, called after the first that has it."""
    for name, pretraining in fits_of(setup, names).items():
        yield {"of": "fits", "fit": name, "seeds": setup.keys.shape[0], **measure_fit(setup, pretraining, repeats)}


def fits_of(setup: Setup, names: Sequence[str]) -> Mapping[str, Pretraining]:
    """The fits of some systems with their presets, each once."""
    fits: dict[str, Pretraining] = {}
    known = set()
    for name in names:
        definition = get_definition(name)
        resolved = resolve(definition, setup.task.name)
        for part, fit in definition.pretraining(setup.problem, resolved.config, resolved.steps).items():
            identity = (part, type(fit.config).__name__, fit.config.model_dump_json(), fit.streams)
            fits |= {} if identity in known else {f"{part} of {name}": fit}
            known.add(identity)
    return fits


def measure_fit(setup: Setup, pretraining: Pretraining, repeats: int) -> Line:
    """Epochs of all seeds as `fit` runs them, and what one unit of one seed costs: a step, or an epoch as a whole."""
    programs, data = compile_fit(pretraining), pretraining.prepare(setup.data)
    fixed, state = programs.start(setup.keys, data)
    flop = count_flops(programs.epoch, fixed, state, data, setup.keys)
    program, compilation = compiled(programs.epoch, fixed, state, data, setup.keys, donate_argnums=1)
    traffic = cost(kernels_of(program))
    holder = [state]

    def call() -> Any:
        holder[0] = programs.epoch(fixed, holder[0], data, setup.keys)
        return holder[0]

    timed([call], 2)  # its output may compile it anew
    (seconds,) = timed([call], repeats)
    seeds, steps = setup.keys.shape[0], epoch_steps(pretraining, fixed)
    return {
        "unit": unit(pretraining),
        "units_per_s": seeds * steps / seconds,
        "epoch_s": seconds,
        "ms": 1e3 * seconds / steps / seeds,
        "gflop": flop / steps / seeds / 1e9,
        "gb": traffic.bytes / steps / seeds / 1e9,
        "compilation_s": compilation,
        "compiled_programs": float(getattr(programs.epoch, "_cache_size")()),  # noqa: B009, private to jax
    }


def epoch_steps(pretraining: Pretraining, fixed: Any) -> int:
    """Optimizer steps of an epoch of one seed; what is no ensemble counts epochs."""
    if not isinstance(pretraining.config, EnsembleConfig):
        return 1
    return math.ceil(fixed.bootstrap.shape[-1] / pretraining.config.batch_size)


def unit(pretraining: Pretraining) -> str:
    """What `epoch_steps` counts."""
    return "step" if isinstance(pretraining.config, EnsembleConfig) else "epoch"


def epoch_shapes(pretraining: Pretraining, keys: Any, data: Any) -> tuple[Any, ...]:
    """Shapes of the arguments of an epoch of all seeds; nothing is computed."""
    prepared = jax.eval_shape(pretraining.prepare, data)
    fixed, state = jax.eval_shape(partial(compile_fit(pretraining).start), keys, prepared)
    return fixed, state, prepared, keys
