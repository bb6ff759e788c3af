"""Updates, ensemble steps, imagined transitions and evaluation steps per second, for growing batches of seeds.

Beside each rate stands the arithmetic bound: matrix-product FLOP counted from shapes over the measured speed of a large
matrix product on the same device at the same precision. `--relative` compares algorithms by the cost of one update.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flops import count_flops
from measure import Setup, compiled, dynamics_fit, peak_flops, peak_memory, set_up, timed
from relative import COLUMNS, LEGEND, measure_relative
from tabulate import tabulate

from offline_mbrl.algorithms.algorithm import Algorithm, sample_rows
from offline_mbrl.algorithms.registry import definitions
from offline_mbrl.algorithms.systems import mopo
from offline_mbrl.algorithms.systems.mopo import MOPOConfig
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.machine import available_cores, versions
from offline_mbrl.precision import Precision
from offline_mbrl.pretraining.fit import compile_fit
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import Task, get_task
from offline_mbrl.training.loop import advance_seed, compile_program
from offline_mbrl.types import Key, Transition


def measure_mopo(setup: Setup, config: MOPOConfig, updates: int, repeats: int) -> dict[str, float]:
    """The whole MOPO loop, its refresh and its updates alone, and a bare scan of as many updates, taking turns.

    The updates are timed by themselves: the rollouts take half of the loop, and what is left after subtracting them
    would carry the noise of both.
    """
    algorithm = mopo.build(setup.problem, config, updates)
    init = jax.jit(jax.vmap(algorithm.init, in_axes=(0, None, 0)))
    period = updates // config.rollout_every * config.rollout_every

    def loop(algorithm: Algorithm) -> Callable[..., Any]:
        return jax.vmap(partial(advance_seed, algorithm, period, config.rollout_every), in_axes=(0, None, 0, None))

    assert algorithm.refresh is not None
    refresh = jax.vmap(algorithm.refresh, in_axes=(0, None, 0))
    batch = jax.jit(jax.vmap(lambda key: sample_rows(setup.data.transitions, key, config.batch_size)))(setup.keys)
    whole, no_rollouts = loop(algorithm), loop(replace(algorithm, refresh=None))
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "loop": (whole, (setup.data, setup.keys, 0)),
        "refresh": (refresh, (setup.data, setup.keys)),
        "updates": (no_rollouts, (setup.data, setup.keys, 0)),
        "bare": (jax.vmap(partial(bare_updates, algorithm, period)), (batch, setup.keys)),
    }
    states = {name: init(setup.keys, setup.data, setup.pretrained) for name in functions}
    programs = {
        name: compiled(function, states[name], *args, donate_argnums=0) for name, (function, args) in functions.items()
    }
    states["updates"], _ = programs["refresh"][0](states["updates"], setup.data, setup.keys)  # rows to sample
    calls = [partial(step_on, states, name, programs[name][0], args) for name, (_, args) in functions.items()]
    timed(calls, 1)
    loop_s, refresh_s, updates_s, bare_s = timed(calls, repeats)
    seeds = setup.keys.shape[0]
    return {
        "updates_per_s": seeds * period / loop_s,
        "updates_per_s_without_rollouts": seeds * period / updates_s,
        "bare_sac_updates_per_s": seeds * period / bare_s,
        "kept_of_bare_sac": bare_s / updates_s,
        "rollout_transitions_per_s": seeds * config.rollout_batch * config.horizon / refresh_s,
        "loop_flop_per_update": count_flops(whole, states["loop"], setup.data, setup.keys, 0) / (seeds * period),
        "compilation_s": programs["loop"][1],
    }


def step_on(states: dict[str, Any], name: str, program: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """One call of `program` on the state called `name`, which it consumes and replaces."""
    states[name] = program(states[name], *args)[0]
    return states[name]


def bare_updates(algorithm: Algorithm, updates: int, state: Any, batch: Transition, key: Key) -> tuple[Any, None]:
    """Nothing but gradient steps: one batch, no sampling, no metrics kept."""

    def step(state: Any, key: Key) -> tuple[Any, None]:
        return algorithm.update(state, batch, key)[0], None

    return jax.lax.scan(step, state, jax.random.split(key, updates))


def measure_ensemble(setup: Setup, config: EnsembleConfig, repeats: int) -> dict[str, float]:
    """Training steps of the ensemble: one step is 256 rows for each of seven members."""
    programs = compile_fit(dynamics_fit(config, setup.problem))
    fixed, state = programs.start(setup.keys, setup.data)
    holder = [state]

    def call() -> Any:
        holder[0] = programs.epoch(fixed, holder[0], setup.data, setup.keys)
        return holder[0]

    timed([call], 1)
    (seconds,) = timed([call], repeats)
    steps = setup.keys.shape[0] * math.ceil(fixed.bootstrap.shape[-1] / config.batch_size)
    return {"ensemble_steps_per_s": steps / seconds}


def measure_evaluation(setup: Setup, config: MOPOConfig, steps: int, repeats: int) -> dict[str, float]:
    """Control steps of every seed's ten episodes with the policy in the loop; rows that end begin again."""
    algorithm = mopo.build(setup.problem, config, 1)
    program = compile_program(algorithm, config.rollout_every)
    state = program.init(setup.keys, setup.data, setup.pretrained)
    rows = setup.keys.shape[0] * 10
    simulator = Simulator(setup.task.robot, rows)

    def call() -> None:
        obs = simulator.reset(range(rows))
        for number in range(steps):
            actions = program.act(state, jnp.asarray(obs, jnp.float32).reshape(-1, 10, setup.problem.obs_dim))
            step = simulator.step(np.asarray(actions).reshape(rows, -1))
            ended = np.flatnonzero(step.terminated | step.truncated)
            obs = simulator.reset(ended + number, ended) if len(ended) else step.obs

    timed([call], 1)
    (seconds,) = timed([call], repeats)
    return {"evaluation_steps_per_s": rows * steps / seconds}


def sweep_seeds(task: Task, options: "Options", peak: float) -> Iterator[dict[str, float]]:
    """One line of measurements for each number of seeds."""
    config = MOPOConfig(rollout_batch=options.rollout_batch, rollout_every=options.updates)
    for seeds in batch_sizes(options):
        setup = set_up(task, seeds, options.rows)
        mopo_line = measure_mopo(setup, config, options.updates, options.repeats)
        yield {
            "seeds": seeds,
            **mopo_line,
            "bound_updates_per_s": peak / mopo_line["loop_flop_per_update"],
            **measure_ensemble(setup, config.dynamics, options.repeats),
            **measure_evaluation(setup, config, options.evaluation_steps, options.repeats),
            "peak_memory_gib": peak_memory(),
        }


@dataclass(frozen=True)
class Options:
    """What to measure."""

    task: str = "hopper-medium"
    seeds: tuple[int, ...] = ()
    """Sizes of the batch of seeds; 1 4 16 32 when absent, on a CPU 1 4."""
    updates: int = 1000
    """Gradient steps between rollouts, and of one timed call."""
    rollout_batch: int = 50_000
    """Imagined branches of one refresh, five steps each."""
    rows: int = 100_000
    """Rows of synthetic data."""
    evaluation_steps: int = 100
    repeats: int = 3
    precision: Precision = "default"
    relative: tuple[str, ...] = ()
    """Instead, the cost of one gradient step of these algorithms (NAME or NAME:PRESET; "all") in units of SAC's."""
    json: bool = False
    """Print JSON in place of tables."""


def batch_sizes(options: Options) -> tuple[int, ...]:
    """The numbers of seeds to measure: a CPU is full with few."""
    return options.seeds or ((1, 4) if jax.devices()[0].platform == "cpu" else (1, 4, 16, 32))


def describe(options: Options, peak: float) -> dict[str, Any]:
    """What the numbers were measured on."""
    device = jax.devices()[0]
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "cores": available_cores(),
        "precision": options.precision,
        "task": options.task,
        "rollouts": f"{options.rollout_batch} x 5 every {options.updates} updates",
        "matrix_product_gflops": peak / 1e9,
        "versions": versions(),
    }


def main(options: Options) -> None:
    """Measures and prints."""
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured
    with jax.default_matmul_precision(None if options.precision == "default" else options.precision):
        about = describe(options, peak := peak_flops())
        if not options.json:
            print("\n".join(f"{name}: {value}" for name, value in about.items()), flush=True)
        report = report_relative if options.relative else report_rates
        measurements = report(options, get_task(options.task), peak)
    if options.json:
        print(json.dumps({"about": about, "measurements": measurements}, indent=2))


def report_rates(options: Options, task: Task, peak: float) -> list[dict[str, Any]]:
    """One column for each number of seeds: the names are long and the sets few."""
    lines = list(sweep_seeds(task, options, peak))
    if not options.json:
        table = [[name, *(shown(line[name]) for line in lines)] for name in lines[0]]
        print("\n" + tabulate(table, disable_numparse=True))
    return lines


def report_relative(options: Options, task: Task, peak: float) -> list[dict[str, Any]]:
    """One table for each number of seeds."""
    names = list(definitions()) if options.relative == ("all",) else options.relative
    measured = []
    for seeds in batch_sizes(options):
        lines = []
        for line in measure_relative(task, names, seeds, options.rows, options.repeats):
            lines.append(line)
            # Long measurements: what is known so far should be seen, and survives a kill.
            print(", ".join(f"{name} {shown(value)}" for name, value in line.items()), file=sys.stderr, flush=True)
        if not options.json:
            table = [{name: shown(value) for name, value in line.items()} for line in lines]
            print(f"\n{seeds} seeds\n" + tabulate(table, headers=COLUMNS, disable_numparse=True), flush=True)
        measured.append({"seeds": seeds, "algorithms": lines})
    if not options.json:
        print(f"\n{LEGEND}")
    return measured


def shown(value: object) -> str:
    """Four digits of a number, nothing for None, other things as they are."""
    return f"{value:,.4g}" if isinstance(value, float) else str("" if value is None else value)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
