"""The hot loop: gradient steps and their periodic refreshes as nested scans, all lanes in one compiled program.

A lane is a seed with its own values of the numeric settings that differ between the runs of one program.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from offline_mbrl.algorithms.algorithm import Act, Algorithm, Pretrained, State
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn.precision import acting
from offline_mbrl.types import Array, Data, Key, Metrics

Numbers = Mapping[str, Array]
"""Numeric settings by name, [lanes] each; empty where all lanes have the same."""

LONGEST_STRETCH = 100
"""Most updates whose batches are gathered together: more would only take memory."""

OWN_ROWS = Data(None, None, None, None, 0)  # type: ignore[arg-type]
"""The axes of lanes: rows are shared, what is a lane's own of them is not."""

BatchedAct = Callable[[State, Array], Array]
"""(states [lanes], observations [lanes, E, d]) -> actions [lanes, E, m]."""


@dataclass(frozen=True)
class Program:
    """An algorithm compiled for a batch of lanes; every state leaf has a leading axis [lanes].

    `advance` takes `period` gradient steps that begin at number `step` and gives metrics [lanes], means over the
    period; it consumes the states it is given. `conclude` drops what only training reads. `act` is the deterministic
    policy on observations [lanes, E, d], of a state that went through `deploy`; `variants` are other ways of acting,
    which are scored in its place.
    """

    init: Callable[[Key, Data, Pretrained], State]
    advance: Callable[[State, Data, Key, int], tuple[State, Metrics]]
    deploy: Callable[[State], State]
    conclude: Callable[[State], State]
    act: BatchedAct
    variants: Mapping[str, BatchedAct]
    period: int
    prepare: Callable[[State, Data, Key], None]
    """Compiles `advance` now, so that what it takes can be told apart from the steps."""
    programs: Callable[[], int]
    """How many programs `advance` has been compiled to: more than one is a waste."""


class Period(NamedTuple):
    """What a run is after some periods."""

    step: int  # gradient steps taken
    state: State  # consumed by the next period
    metrics: Mapping[str, np.ndarray]  # [lanes] means over the period, on the host


def compile_program(algorithm: Algorithm, period: int) -> Program:
    """`algorithm` for all seeds at once, in calls of `period` gradient steps.

    Raises:
      UserError: the algorithm's refresh interval, or the steps of one update, do not divide `period`.
    """
    return compile_lanes(lambda numbers: algorithm, {}, period)


def compile_lanes(build: Callable[[Numbers], Algorithm], numbers: Numbers, period: int) -> Program:
    """The algorithms that `build` gives for each lane's `numbers`, as one program.

    Args:
      build: traced with one lane's values; only arithmetic may depend on them.
      numbers: [lanes] each; without any, `build({})` is the algorithm of all lanes.
      period: gradient steps of one call.

    Raises:
      UserError: the refresh interval, or the steps of one update, do not divide `period`.
    """
    # What shapes the program is the same for all lanes: any lane's algorithm tells it.
    first = build({name: values[0] for name, values in numbers.items()})
    block = block_steps(first, period)

    def init(numbers: Numbers, key: Key, data: Data, pretrained: Pretrained) -> State:
        return build(numbers).init(key, data, pretrained)

    def advance(state: State, numbers: Numbers, data: Data, key: Key, step: Array) -> tuple[State, Metrics]:
        return advance_seed(build(numbers), period, block, state, data, key, step)

    def deploy(state: State, numbers: Numbers) -> State:
        deploy = build(numbers).deploy
        return deploy(state) if deploy else state

    init_all = jax.jit(jax.vmap(init, in_axes=(0, 0, None, 0)))
    advance_all = jax.jit(jax.vmap(advance, in_axes=(0, 0, OWN_ROWS, 0, None)), donate_argnums=0)
    deploy_all = jax.jit(jax.vmap(deploy))
    # Acting may be asked of another device than trains: numbers on the host go with the state.
    on_host = {name: np.asarray(values) for name, values in numbers.items()}
    return Program(
        init=lambda keys, data, pretrained: init_all(numbers, keys, data, pretrained),
        advance=lambda state, data, keys, step: advance_all(state, numbers, data, keys, step),
        deploy=(lambda state: deploy_all(state, numbers)) if first.deploy else _same,
        conclude=jax.jit(jax.vmap(first.conclude)) if first.conclude else _same,
        act=_batch("act", lambda numbers: build(numbers).act, on_host),
        variants={name: _batch(f"act_{name}", partial(_variant, build, name), on_host) for name in first.variants},
        period=period,
        prepare=lambda state, data, keys: _compile(advance_all, state, numbers, data, keys, 0),
        programs=lambda: int(getattr(advance_all, "_cache_size")()),  # noqa: B009, the attribute is private to jax
    )


def block_steps(algorithm: Algorithm, period: int) -> int:
    """The gradient steps between two refreshes, `period` where there are none.

    Raises:
      UserError: they do not divide `period`, or the steps of one update do not divide them.
    """
    block = algorithm.refresh_every if algorithm.refresh else period
    if period % block:
        raise UserError(
            f"evaluation every {period} steps must be a multiple of the rollout interval, {block} steps; change "
            "--evaluate-every or rollout_every"
        )
    if block % algorithm.steps_per_update:
        raise UserError(f"{block} steps must be a multiple of the {algorithm.steps_per_update} that one update makes")
    return block


def periods(program: Program, state: State, data: Data, keys: Key, start: int, steps: int) -> Iterator[Period]:
    """The run from step `start` on, period by period up to `steps`; each state is consumed by the next period."""
    for last in range(start, steps, program.period):
        state, metrics = program.advance(state, data, keys, last)
        yield Period(last + program.period, state, jax.device_get(metrics))


def advance_seed(
    algorithm: Algorithm, period: int, block: int, state: State, data: Data, key: Key, step: Array
) -> tuple[State, Metrics]:
    """`period` gradient steps of one seed from number `step`, with a refresh before every `block` of them.

    Step t draws from `fold_in(key, t)` alone, so a resumed run repeats the draws of one that never stopped.
    """
    updates = block // algorithm.steps_per_update
    stretch = largest_divisor(updates, LONGEST_STRETCH) if algorithm.samples_ahead else 1

    def run_block(state: State, start: Array) -> tuple[State, Metrics]:
        metrics: Metrics = {}
        if algorithm.refresh:
            state, metrics = algorithm.refresh(state, data, jax.random.fold_in(stream(key, "refresh"), start))
        # The keys of a block are made together: drawing them one by one costs kernels in the inner loop.
        steps = start + jnp.arange(0, block, algorithm.steps_per_update)
        steps = jax.vmap(partial(jax.random.fold_in, stream(key, "step")))(steps)
        keys = jax.vmap(lambda k: (stream(k, "sample"), stream(k, "update")))(steps)
        keys = jax.tree.map(lambda leaf: leaf.reshape(updates // stretch, stretch), keys)
        state, taken = jax.lax.scan(run_stretch, state, keys)
        return state, metrics | named_means(taken)

    def run_stretch(state: State, keys: tuple[Key, Key]) -> tuple[State, Named]:
        # The rows of a stretch are gathered together: one by one, gathering costs kernels in the inner loop too.
        sample_keys, update_keys = keys
        batches = jax.vmap(partial(algorithm.sample, state, data))(sample_keys)
        return jax.lax.scan(run_update, state, (batches, update_keys))

    def run_update(state: State, drawn: tuple[Any, Key]) -> tuple[State, Named]:
        batch, update_key = drawn
        state, metrics = algorithm.update(state, batch, update_key)
        return state, named(metrics)

    state, metrics = jax.lax.scan(run_block, state, step + block * jnp.arange(period // block))
    return state, jax.tree.map(jnp.mean, metrics)


def _compile(function: Any, *arguments: Any) -> None:
    """A later call with arguments of these shapes finds the program."""
    function.lower(*arguments).compile()


class Named(struct.PyTreeNode):
    """Metrics as one vector: a scan writes it by one kernel, where every scalar by itself would take one."""

    values: Array  # [..., names]
    names: tuple[str, ...] = struct.field(pytree_node=False)


def named(metrics: Metrics) -> Named:
    """The metrics of one update."""
    names = tuple(sorted(metrics))
    return Named(jnp.stack([metrics[name] for name in names]) if names else jnp.zeros(0), names)


def named_means(taken: Named) -> Metrics:
    """The mean of each metric over all leading axes."""
    means = taken.values.mean(axis=tuple(range(taken.values.ndim - 1)))
    return {name: means[number] for number, name in enumerate(taken.names)}


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(divisor for divisor in range(min(number, most), 0, -1) if number % divisor == 0)


def _same(state: State) -> State:
    return state


def _variant(build: Callable[[Numbers], Algorithm], name: str, numbers: Numbers) -> Act:
    return build(numbers).variants[name]


def _batch(name: str, act_of: Callable[[Numbers], Act], numbers: Mapping[str, np.ndarray]) -> BatchedAct:
    """The deterministic policy for all lanes and episodes at once, a program called `name`."""

    def one(state: State, numbers: Numbers, obs: Array) -> Array:
        with acting():
            return act_of(numbers)(state, obs, jax.random.key(0), True)

    one.__name__ = name
    batched = jax.jit(jax.vmap(jax.vmap(one, in_axes=(None, None, 0))))
    return lambda state, obs: batched(state, numbers, obs)
