"""Runs a fit for many seeds in one compiled program; each seed stops on its own and is frozen from then on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from offline_mbrl.keys import stream
from offline_mbrl.pretraining.contract import Fixed, Pretraining, Progress, State
from offline_mbrl.types import Array, Data, Key

Report = Callable[[State, Progress], None]
"""Called after every epoch with the batched state and how far each seed is, [S]."""


class Programs(NamedTuple):
    """The compiled parts of a fit, batched over seeds."""

    start: Callable[[Key, Data], tuple[Fixed, State]]
    epoch: Callable[[Fixed, State, Data, Key], State]  # consumes the state
    active: Callable[[State], Array]
    progress: Callable[[State], Progress]
    finish: Callable[[Fixed, State], Any]


def silent(state: State, progress: Progress) -> None:
    """Reports nothing."""


def compile_fit(pretraining: Pretraining) -> Programs:
    """The programs of a fit; each is compiled once, when it is first called."""
    return Programs(
        start=jax.jit(jax.vmap(pretraining.start, in_axes=(0, None))),
        epoch=jax.jit(jax.vmap(pretraining.epoch, in_axes=(0, 0, None, 0)), donate_argnums=1),
        active=jax.jit(jax.vmap(pretraining.active)),
        progress=jax.jit(jax.vmap(pretraining.progress)),
        finish=jax.jit(jax.vmap(pretraining.finish)),
    )


def fit(pretraining: Pretraining, data: Data, keys: Key, report: Report = silent, resumed: State | None = None) -> Any:
    """The results of the typed keys [S], stacked; it goes on from the batched state `resumed` if there is one."""
    programs, prepared = compile_fit(pretraining), pretraining.prepare(data)
    fixed, state = programs.start(keys, prepared)
    state = state if resumed is None else resumed
    while bool(programs.active(state).any()):
        state = programs.epoch(fixed, state, prepared, keys)
        report(state, programs.progress(state))
    return programs.finish(fixed, state)


def seed_keys(pretraining: Pretraining, seeds: Sequence[int]) -> Key:
    """The key [S] of each seed's fit: it depends on the seed alone."""
    keys = jax.vmap(jax.random.key)(jnp.asarray(tuple(seeds), jnp.uint32))
    for name in pretraining.streams:
        keys = jax.vmap(stream, in_axes=(0, None))(keys, name)
    return keys


def untrained(pretraining: Pretraining, data: Data, keys: Key) -> Any:
    """The results [S] as they would be without an epoch: for shapes, and for tests and benchmarks."""
    programs = compile_fit(pretraining)
    return programs.finish(*programs.start(keys, pretraining.prepare(data)))


def result_shape(pretraining: Pretraining, data: Data, seeds: int) -> Any:
    """Shapes and types of the results of `seeds` seeds, for reading saved ones; nothing is computed."""
    keys = jax.eval_shape(lambda: seed_keys(pretraining, range(seeds)))
    return jax.eval_shape(lambda keys, data: untrained(pretraining, data, keys), keys, data)


def state_shape(pretraining: Pretraining, data: Data, seeds: int) -> State:
    """Shapes and types of the batched state of a fit in progress."""
    keys = jax.eval_shape(lambda: seed_keys(pretraining, range(seeds)))

    def start(keys: Key, data: Data) -> State:
        return jax.vmap(pretraining.start, in_axes=(0, None))(keys, pretraining.prepare(data))[1]

    return jax.eval_shape(start, keys, data)
