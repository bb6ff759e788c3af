"""MOPO by its parts: updates, imagined transitions, ensemble steps and evaluation steps per second, for some seeds.

Beside the rate of updates stands the arithmetic bound: matrix-product FLOP counted from shapes over the measured speed
of a large matrix product on the same device at the same precision.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from fits import measure_fit
from flops import count_flops
from measure import Line, Setup, compiled, dynamics_fit, peak_memory, timed

from offline_mbrl.algorithms.algorithm import Algorithm, Pretrained, sample_rows
from offline_mbrl.algorithms.systems import mopo
from offline_mbrl.algorithms.systems.mopo import MOPOConfig
from offline_mbrl.pretraining.fit import untrained
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.training.loop import advance_seed, compile_program
from offline_mbrl.types import Key, Transition


def measure_rates(
    setup: Setup, config: MOPOConfig, updates: int, evaluation_steps: int, repeats: int, peak: float
) -> Line:
    """All rates for the seeds of `setup`; `peak` is the device's FLOP/s."""
    line = measure_mopo(setup, config, updates, repeats)
    fit = measure_fit(setup, dynamics_fit(config.dynamics, setup.problem), repeats)
    return {
        "of": "rates",
        "seeds": setup.keys.shape[0],
        **line,
        "bound_updates_per_s": peak / line["loop_flop_per_update"],
        "ensemble_steps_per_s": fit["units_per_s"],
        **measure_evaluation(setup, config, evaluation_steps, repeats),
        "peak_memory_gib": peak_memory(),
    }


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
    batch = jax.jit(jax.vmap(lambda key: sample_rows(setup.data, key, config.batch_size)))(setup.keys)
    whole, no_rollouts = loop(algorithm), loop(replace(algorithm, refresh=None))
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "loop": (whole, (setup.data, setup.keys, 0)),
        "refresh": (refresh, (setup.data, setup.keys)),
        "updates": (no_rollouts, (setup.data, setup.keys, 0)),
        "bare": (jax.vmap(partial(bare_updates, algorithm, period)), (batch, setup.keys)),
    }
    fresh = untrained_model(setup, config)
    states = {name: init(setup.keys, setup.data, fresh) for name in functions}
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


def untrained_model(setup: Setup, config: MOPOConfig) -> Pretrained:
    """Fresh ensembles: speed does not depend on the weights."""
    return {"dynamics": untrained(dynamics_fit(config.dynamics, setup.problem), setup.data, setup.keys)}


def step_on(states: dict[str, Any], name: str, program: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """One call of `program` on the state called `name`, which it consumes and replaces."""
    states[name] = program(states[name], *args)[0]
    return states[name]


def bare_updates(algorithm: Algorithm, updates: int, state: Any, batch: Transition, key: Key) -> tuple[Any, None]:
    """Nothing but gradient steps: one batch, no sampling, no metrics kept."""

    def step(state: Any, key: Key) -> tuple[Any, None]:
        return algorithm.update(state, batch, key)[0], None

    return jax.lax.scan(step, state, jax.random.split(key, updates))


def measure_evaluation(setup: Setup, config: MOPOConfig, steps: int, repeats: int) -> dict[str, float]:
    """Control steps of every seed's ten episodes with the policy in the loop; rows that end begin again."""
    algorithm = mopo.build(setup.problem, config, 1)
    program = compile_program(algorithm, config.rollout_every)
    state = program.init(setup.keys, setup.data, untrained_model(setup, config))
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
