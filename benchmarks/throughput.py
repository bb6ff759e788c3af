"""Updates, ensemble steps, imagined transitions and evaluation steps per second, for growing batches of seeds.

Beside each rate stands the arithmetic bound: matrix-product FLOP counted from shapes over the measured speed of a large
matrix product on the same device at the same precision. `--relative` compares algorithms by the cost of one update.
"""

import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flops import count_flops
from tabulate import tabulate

from offline_mbrl.algorithms import mopo, sac
from offline_mbrl.algorithms.algorithm import Algorithm, Definition, sample_rows
from offline_mbrl.algorithms.mopo import MOPOConfig
from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.registry import definitions, get_definition
from offline_mbrl.data.dataset import to_device
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.dynamics import fit
from offline_mbrl.dynamics.ensemble import Ensemble, EnsembleConfig
from offline_mbrl.dynamics.termination import problem_of
from offline_mbrl.evaluation.simulator import Simulator, available_cores
from offline_mbrl.tasks import Task, get_task
from offline_mbrl.training.environment import versions
from offline_mbrl.training.job import Precision
from offline_mbrl.training.loop import advance_seed, compile_program
from offline_mbrl.types import Data, Key, Problem, Transition


class Setup(NamedTuple):
    """What every measurement is made on."""

    task: Task
    problem: Problem
    data: Data
    keys: Key  # [seeds]
    ensemble: Ensemble  # [seeds], untrained: speed does not depend on the weights


def timed(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Median seconds of each call over `repeats`, the calls taking turns so that a noisy moment meets all of them."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for row, call in zip(seconds, calls, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            row.append(time.perf_counter() - start)
    return [median(row) for row in seconds]


def compiled(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[Callable[..., Any], float]:
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


def set_up(task: Task, seeds: int, rows: int) -> Setup:
    """Synthetic data of the task's shapes, and fresh ensembles: neither contents nor weights move a speed."""
    problem = problem_of(task.robot)
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    return Setup(task, problem, to_device(synthetic(task, rows)), keys, untrained(EnsembleConfig(), problem, keys))


def untrained(config: EnsembleConfig, problem: Problem, keys: Key) -> Ensemble:
    """A batch of fresh ensembles."""
    fresh = jax.jit(jax.vmap(partial(fit.untrained, config, problem.obs_dim, problem.action_dim)))(keys)
    ensemble: Ensemble = fresh.ensemble
    return ensemble


def measure_mopo(setup: Setup, config: MOPOConfig, updates: int, repeats: int) -> dict[str, float]:
    """The whole MOPO loop, its refresh alone, and a bare scan of as many SAC updates on one batch, taking turns."""
    algorithm = mopo.build(setup.problem, config, updates)
    init = jax.jit(jax.vmap(algorithm.init, in_axes=(0, None, 0)))
    states = {name: init(setup.keys, setup.data, setup.ensemble) for name in ("loop", "refresh", "bare")}
    period = updates // config.rollout_every * config.rollout_every
    advance = jax.vmap(partial(advance_seed, algorithm, period, config.rollout_every), in_axes=(0, None, 0, None))
    batch = jax.jit(jax.vmap(lambda key: sample_rows(setup.data.transitions, key, config.batch_size)))(setup.keys)

    loop, compilation = compiled(advance, states["loop"], setup.data, setup.keys, 0, donate_argnums=0)
    assert algorithm.refresh is not None
    refresh, _ = compiled(
        jax.vmap(algorithm.refresh, in_axes=(0, None, 0)), states["refresh"], setup.data, setup.keys, donate_argnums=0
    )
    bare, _ = compiled(
        jax.vmap(partial(bare_updates, algorithm, period)), states["bare"], batch, setup.keys, donate_argnums=0
    )

    def run(name: str, program: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        def call() -> Any:
            states[name] = program(states[name], *args)[0]
            return states[name]

        return call

    calls = [
        run("loop", loop, setup.data, setup.keys, 0),
        run("refresh", refresh, setup.data, setup.keys),
        run("bare", bare, batch, setup.keys),
    ]
    timed(calls, 1)
    loop_s, refresh_s, bare_s = timed(calls, repeats)
    seeds, refreshes = setup.keys.shape[0], period // config.rollout_every
    rows = seeds * config.rollout_batch * config.horizon
    return {
        "updates_per_s": seeds * period / loop_s,
        "updates_per_s_without_rollouts": seeds * period / (loop_s - refreshes * refresh_s),
        "bare_sac_updates_per_s": seeds * period / bare_s,
        "kept_of_bare_sac": bare_s / (loop_s - refreshes * refresh_s),
        "rollout_transitions_per_s": rows / refresh_s,
        "loop_flop_per_update": count_flops(advance, states["loop"], setup.data, setup.keys, 0) / (seeds * period),
        "compilation_s": compilation,
    }


def bare_updates(algorithm: Algorithm, updates: int, state: Any, batch: Transition, key: Key) -> tuple[Any, None]:
    """Nothing but gradient steps: one batch, no sampling, no metrics kept."""
    step = lambda state, key: (algorithm.update(state, batch, key)[0], None)  # noqa: E731
    return jax.lax.scan(step, state, jax.random.split(key, updates))


def measure_ensemble(setup: Setup, config: EnsembleConfig, repeats: int) -> dict[str, float]:
    """Training steps of the ensemble: one step is 256 rows for each of seven members."""
    programs = fit.compile_fit(config, setup.problem.obs_dim, setup.problem.action_dim)
    rows = setup.data.transitions
    state, split, scaler = programs.start(setup.keys, rows)
    holder = [state]

    def call() -> Any:
        holder[0] = programs.epoch(scaler, rows, split, holder[0], setup.keys)
        return holder[0]

    timed([call], 1)
    (seconds,) = timed([call], repeats)
    steps = setup.keys.shape[0] * -(-split.bootstrap.shape[-1] // config.batch_size)
    return {"ensemble_steps_per_s": steps / seconds}


def measure_evaluation(setup: Setup, config: MOPOConfig, steps: int, repeats: int) -> dict[str, float]:
    """Control steps of every seed's ten episodes with the policy in the loop; rows that end begin again."""
    algorithm = mopo.build(setup.problem, config, 1)
    program = compile_program(algorithm, config.rollout_every)
    state = program.init(setup.keys, setup.data, setup.ensemble)
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


def measure_relative(task: Task, names: Sequence[str], seeds: int, rows: int, repeats: int) -> list[dict[str, Any]]:
    """Seconds and FLOP of one gradient step of each algorithm, as multiples of SAC's in the same run."""
    setup = set_up(task, seeds, rows)
    made = {"sac": one_update(setup, sac_algorithm(setup.problem), None)}
    for name in names:
        definition = get_definition(name)
        config = default_config(definition, task)
        ensemble = untrained(definition.ensemble(config), setup.problem, setup.keys) if definition.ensemble else None
        made[name] = one_update(setup, definition.build(setup.problem, config, 1000), ensemble)
    seconds = timed([call for call, _, _ in made.values()], repeats)
    sac_flop = made["sac"][1]
    return [
        {
            "algorithm": name,
            "cost": second / seconds[0],
            "flop": flop / sac_flop,
            "cost_over_flop": second / seconds[0] / (flop / sac_flop),
            "gflop_per_update": flop / 1e9,
            "compilation_s": compilation,
        }
        for second, (name, (_, flop, compilation)) in zip(seconds, made.items(), strict=True)
    ]


def sac_algorithm(problem: Problem) -> Algorithm:
    """Plain SAC on data rows: the unit of the comparison."""
    config = sac.SACConfig()
    system = sac.make(problem, config, 1)
    return Algorithm(
        init=lambda key, data, ensemble: sac.init(system, key),
        sample=lambda state, data, key: sample_rows(data.transitions, key, config.batch_size),
        update=partial(sac.update, system),
        act=lambda state, obs, key, deterministic: sac.act(system, state.actor.params, obs, key, deterministic),
    )


def one_update(
    setup: Setup, algorithm: Algorithm, ensemble: Ensemble | None, steps: int = 20
) -> tuple[Callable[[], Any], float, float]:
    """A call of `steps` gradient steps of every seed; the FLOP of one step of one seed; the seconds of compilation."""

    def prepare(key: Key, data: Data, ensemble: Ensemble | None) -> Any:
        state = algorithm.init(key, data, ensemble)
        return algorithm.refresh(state, data, key)[0] if algorithm.refresh else state

    def updates(state: Any, data: Data, key: Key) -> tuple[Any, Any]:
        step = lambda state, key: algorithm.update(state, algorithm.sample(state, data, key), key)  # noqa: E731
        return jax.lax.scan(step, state, jax.random.split(key, steps // algorithm.steps_per_update))

    state = jax.jit(jax.vmap(prepare, in_axes=(0, None, 0)))(setup.keys, setup.data, ensemble)
    holder = [state]
    batched = jax.vmap(updates, in_axes=(0, None, 0))
    flop = count_flops(batched, state, setup.data, setup.keys) / (steps * setup.keys.shape[0])
    program, compilation = compiled(batched, state, setup.data, setup.keys, donate_argnums=0)

    def call() -> Any:
        holder[0], metrics = program(holder[0], setup.data, setup.keys)
        return metrics

    call()
    return call, flop, compilation


def default_config(definition: Definition, task: Task) -> Any:
    """The task's presets, with few imagined branches and little of what is trained before the first update."""
    overrides = {"rollout_batch": 1000, "pretrain_epochs": 0, "adversary_steps": 1, "reward.max_epochs": 1}
    fields = definition.config.model_fields
    known = {name: value for name, value in overrides.items() if name.partition(".")[0] in fields}
    return resolve(definition, task.name, overrides=known).config


def peak_memory() -> float:
    """GiB that were in use at most: on the device, or in this process where the device is the CPU."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return float(stats["peak_bytes_in_use"]) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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
    """Instead, the cost of one update of these algorithms ("all" for every one) in units of SAC's."""
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
    task = get_task(options.task)
    with jax.default_matmul_precision(None if options.precision == "default" else options.precision):
        peak = peak_flops()
        if options.relative:
            names = list(definitions()) if options.relative == ("all",) else list(options.relative)
            lines = measure_relative(task, names, batch_sizes(options)[0], options.rows, options.repeats)
        else:
            lines = list(sweep_seeds(task, options, peak))
    about = describe(options, peak)
    if options.json:
        print(json.dumps({"about": about, "measurements": lines}, indent=2))
        return
    print("\n".join(f"{name}: {value}" for name, value in about.items()), end="\n\n")
    # One column for each measurement set: the names are long and the sets few.
    names = list(lines[0])
    print(tabulate([[name, *(shown(line[name]) for line in lines)] for name in names], disable_numparse=True))


def shown(value: object) -> str:
    """Four digits of a number, other things as they are."""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
