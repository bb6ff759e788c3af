"""The hot loop: gradient steps and their periodic refreshes as nested scans, all seeds in one compiled program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.algorithm import Act, Algorithm, State
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Data, Key, Metrics

BatchedAct = Callable[[State, Array], Array]
"""(states [seeds], observations [seeds, E, d]) -> actions [seeds, E, m]."""


@dataclass(frozen=True)
class Program:
    """An algorithm compiled for a batch of seeds; every state leaf has a leading axis [seeds].

    `advance` takes `period` gradient steps that begin at number `step` and gives metrics [seeds], means over the
    period; it consumes the states it is given. `act` is the deterministic policy on observations [seeds, E, d], of a
    state that went through `deploy`; `variants` are other ways of acting, which are scored in its place.
    """

    init: Callable[[Key, Data, Ensemble | None], State]
    advance: Callable[[State, Data, Key, int], tuple[State, Metrics]]
    deploy: Callable[[State], State]
    act: BatchedAct
    variants: Mapping[str, BatchedAct]
    period: int


def compile_program(algorithm: Algorithm, period: int) -> Program:
    """`algorithm` for all seeds at once, in calls of `period` gradient steps.

    Raises:
      UserError: the algorithm's refresh interval, or the steps of one update, do not divide `period`.
    """
    block = algorithm.refresh_every if algorithm.refresh else period
    if period % block:
        raise UserError(f"evaluation every {period} steps must be a multiple of the rollout interval, {block} steps")
    if block % algorithm.steps_per_update:
        raise UserError(f"{block} steps must be a multiple of the {algorithm.steps_per_update} that one update makes")
    advance = jax.vmap(partial(advance_seed, algorithm, period, block), in_axes=(0, None, 0, None))
    return Program(
        init=jax.jit(jax.vmap(algorithm.init, in_axes=(0, None, 0))),
        advance=jax.jit(advance, donate_argnums=0),
        deploy=jax.jit(jax.vmap(algorithm.deploy)) if algorithm.deploy else lambda state: state,
        act=_batch(algorithm.act),
        variants={name: _batch(act) for name, act in algorithm.variants.items()},
        period=period,
    )


def _batch(act: Act) -> BatchedAct:
    """The deterministic policy for all seeds and episodes at once."""
    one = lambda state, obs: act(state, obs, jax.random.key(0), True)  # noqa: E731
    return jax.jit(jax.vmap(jax.vmap(one, in_axes=(None, 0))))


def advance_seed(
    algorithm: Algorithm, period: int, block: int, state: State, data: Data, key: Key, step: Array
) -> tuple[State, Metrics]:
    """`period` gradient steps of one seed from number `step`, with a refresh before every `block` of them.

    Step t draws from `fold_in(key, t)` alone, so a resumed run repeats the draws of one that never stopped.
    """

    def run_block(state: State, start: Array) -> tuple[State, Metrics]:
        metrics: Metrics = {}
        if algorithm.refresh:
            state, metrics = algorithm.refresh(state, data, jax.random.fold_in(stream(key, "refresh"), start))
        # The keys of a block are made together: drawing them one by one costs kernels in the inner loop.
        steps = start + jnp.arange(0, block, algorithm.steps_per_update)
        steps = jax.vmap(partial(jax.random.fold_in, stream(key, "step")))(steps)
        keys = jax.vmap(lambda k: (stream(k, "sample"), stream(k, "update")))(steps)
        state, updates = jax.lax.scan(run_step, state, keys)
        return state, metrics | jax.tree.map(jnp.mean, updates)

    def run_step(state: State, keys: tuple[Key, Key]) -> tuple[State, Metrics]:
        sample_key, update_key = keys
        return algorithm.update(state, algorithm.sample(state, data, sample_key), update_key)

    state, metrics = jax.lax.scan(run_block, state, step + block * jnp.arange(period // block))
    return state, jax.tree.map(jnp.mean, metrics)
