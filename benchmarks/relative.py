"""What one gradient step of an algorithm costs, in units of SAC's, and how long its job compiles.

Every algorithm takes turns with SAC on the same seeds, so that a noisy moment meets both.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from flops import BY_HAND, count_flops
from jax.stages import Compiled
from measure import Line, Setup, compiled, set_up, timed

from offline_mbrl.algorithms.algorithm import Algorithm, Pretrained, State, sample_rows
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.presets import applicable, flattened, resolve
from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.algorithms.systems import rambo
from offline_mbrl.algorithms.systems.rambo import RAMBO, RAMBOConfig, RAMBOState
from offline_mbrl.pretraining.fit import untrained
from offline_mbrl.tasks import Task
from offline_mbrl.training.job import Job
from offline_mbrl.training.loop import compile_program
from offline_mbrl.types import Data, Key, Metrics, Problem

COLUMNS = {
    "algorithm": "algorithm",
    "cost": "cost / SAC",
    "flop": "FLOP / SAC",
    "cost_over_flop": "cost / FLOP",
    "by_hand": "FLOP by hand",
    "ms": "ms",
    "compilation_s": "compilation s",
    "memory_gib": "memory GiB",
}

LEGEND = """\
cost, FLOP: time and matrix products of one gradient step of one seed, in units of SAC's; by hand: counted on paper
ms: that time; compilation: of a job's `init` and `advance`, presets as they are, all seeds in one program
memory: what the larger of the two programs needs, its arguments included"""

PERIOD: int = Job.model_fields["evaluate_every"].default

SMALL = {
    "rollout_batch": 1000,
    "pretrain_epochs": 0,
    "adversary_steps": 1,
    "reward.max_epochs": 1,
    "reward.random_actions": 1,
}
"""Few imagined branches and little of what is trained before the first step: neither changes what a step costs."""

NO_SETTINGS: Mapping[str, Any] = {}

Steps = Callable[[int, State, Data, Key], tuple[State, Metrics]]
"""(number, state, data, key) -> so many gradient steps of one seed."""


class Case(NamedTuple):
    """An algorithm as a job has it, and made small for timing its gradient steps alone."""

    job: Algorithm
    small: Algorithm
    pretrained: Pretrained  # untrained: speed does not depend on the weights
    config: Any = None  # of the small one


class Work(NamedTuple):
    """Gradient steps, compiled for all seeds and run once."""

    call: Callable[[], Any]
    steps: int  # of one call, for each seed
    flop: float  # of one step of one seed


def measure_relative(task: Task, names: Sequence[str], seeds: int, rows: int, repeats: int) -> Iterator[Line]:
    """One line each for SAC, every one of `names` (NAME, or NAME:PRESET), and RAMBO's adversary."""
    setup = set_up(task, seeds, rows)
    unit = Case(sac_algorithm(setup.problem), sac_algorithm(setup.problem), {})
    reference = update_work(setup, unit)
    for name, case in [("sac", unit), *((name, make_case(setup, name)) for name in names)]:
        compilation, memory = compile_job(setup, case)
        line = compare(setup, name, reference, update_work(setup, case), repeats)
        yield line | {"compilation_s": compilation, "memory_gib": memory}
        if isinstance(case.config, RAMBOConfig) and case.config.adversary_weight:
            # A part of the job's `refresh`, so compiled with the line above.
            yield compare(setup, f"{name} adversary", reference, adversary_work(setup, case), repeats)


def compare(setup: Setup, name: str, reference: Work, work: Work, repeats: int) -> Line:
    """Time and FLOP of `work` in units of the reference's."""
    unit, own = timed([reference.call, work.call], repeats)
    cost, flop = (own / work.steps) / (unit / reference.steps), work.flop / reference.flop
    by_hand = BY_HAND.get(name) if setup.task.robot.name == "hopper" else None
    milliseconds = 1e3 * own / work.steps / setup.keys.shape[0]
    return {
        "algorithm": name,
        "cost": cost,
        "flop": flop,
        "cost_over_flop": cost / flop,
        "by_hand": by_hand,
        "ms": milliseconds,
        "compilation_s": None,
        "memory_gib": None,
    }


def make_case(setup: Setup, name: str, settings: Mapping[str, Any] = NO_SETTINGS) -> Case:
    """The algorithm NAME, or NAME:PRESET, with the task's presets, and those of the `settings` that it has."""
    definition, preset = get_definition(name.partition(":")[0]), name.partition(":")[2] or None
    own = applicable(definition, flattened(settings))
    full = resolve(definition, setup.task.name, preset, own)
    small = resolve(definition, setup.task.name, preset, applicable(definition, SMALL) | own).config
    fits = definition.pretraining(setup.problem, small, full.steps)
    return Case(
        job=definition.build(setup.problem, full.config, full.steps),
        small=definition.build(setup.problem, small, full.steps),
        config=small,
        pretrained={name: untrained(fit, setup.data, setup.keys) for name, fit in fits.items()},
    )


def sac_algorithm(problem: Problem) -> Algorithm:
    """Plain SAC on data rows: the unit of the comparison."""
    config = sac.SACConfig()
    agent = sac.make(problem, config, 1)
    return Algorithm(
        init=lambda key, data, pretrained: sac.init(agent, key),
        sample=lambda state, data, key: sample_rows(data, key, config.batch_size),
        update=partial(sac.update, agent),
        act=lambda state, obs, key, deterministic: sac.act(agent, state.actor.params, obs, key, deterministic),
    )


def compile_job(setup: Setup, case: Case) -> tuple[float, float]:
    """Seconds to compile `init` and a period's `advance` of the job, and the GiB that the larger program needs."""
    program = compile_program(case.job, PERIOD)
    init, init_s = compiled(program.init, setup.keys, setup.data, case.pretrained)
    state = jax.eval_shape(program.init, setup.keys, setup.data, case.pretrained)
    advance, advance_s = compiled(program.advance, state, setup.data, setup.keys, 0, donate_argnums=0)
    return init_s + advance_s, max(needed_memory(init), needed_memory(advance))


def needed_memory(program: Compiled) -> float:
    """GiB of a program's arguments, results and intermediate values; NaN where the compiler does not say."""
    memory = program.memory_analysis()
    if memory is None:
        return math.nan
    own = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return float(own + memory.temp_size_in_bytes) / 2**30


def update_work(setup: Setup, case: Case) -> Work:
    """Updates, each on rows drawn anew."""
    algorithm = case.small

    def scan(steps: int, state: State, data: Data, key: Key) -> tuple[State, Metrics]:
        def step(state: State, key: Key) -> tuple[State, Metrics]:
            return algorithm.update(state, algorithm.sample(state, data, key), key)

        return jax.lax.scan(step, state, jax.random.split(key, steps // algorithm.steps_per_update))

    return make_work(setup, case, scan)


def adversary_work(setup: Setup, case: Case) -> Work:
    """Steps of RAMBO's model against its policy, which are a part of its refresh."""
    agent, optimizer = sac.make(setup.problem, case.config, 1), optax.adam(case.config.adversary_lr)
    static = RAMBO(case.config, agent, optimizer)

    def phase(steps: int, state: RAMBOState, data: Data, key: Key) -> tuple[RAMBOState, Metrics]:
        few = replace(static, config=case.config.model_copy(update={"adversary_steps": steps}))
        (weights, opt_state), metrics = rambo.adversary_phase(few, state, data, key)
        return state.replace(ensemble=state.ensemble.replace(weights=weights), model_opt_state=opt_state), metrics

    return make_work(setup, case, phase)


def make_work(setup: Setup, case: Case, some_steps: Steps) -> Work:
    """`some_steps` of every seed, from a state that has been through one refresh, if there is any."""

    def prepare(key: Key, data: Data, pretrained: Pretrained) -> State:
        state = case.small.init(key, data, pretrained)
        return case.small.refresh(state, data, key)[0] if case.small.refresh else state

    def batched(steps: int) -> Callable[[State, Data, Key], tuple[State, Metrics]]:
        return jax.vmap(partial(some_steps, steps), in_axes=(0, None, 0))

    holder = [jax.jit(jax.vmap(prepare, in_axes=(0, None, 0)))(setup.keys, setup.data, case.pretrained)]
    unit = case.small.steps_per_update
    flop = count_flops(batched(unit), holder[0], setup.data, setup.keys) / unit
    steps = call_steps(flop) // unit * unit
    program, _ = compiled(batched(steps), holder[0], setup.data, setup.keys, donate_argnums=0)

    def call() -> Metrics:
        holder[0], metrics = program(holder[0], setup.data, setup.keys)
        return metrics

    jax.block_until_ready(call())
    return Work(call, steps, flop / setup.keys.shape[0])


def call_steps(flop: float) -> int:
    """Steps of `flop` operations in one call: a fraction of a second, but many more than a program's launch costs."""
    budget, most = (50e9, 48) if jax.devices()[0].platform == "cpu" else (10e12, 400)
    return max(4, min(most, int(budget / flop)))
