"""A program whose lanes run part after part: less memory on the device at a time, the same numbers up to rounding.

The states of the lanes whose turn it is not wait in the host's memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.training.devices import Layout, make_layout
from offline_mbrl.training.loop import Numbers, Program, compile_lanes
from offline_mbrl.types import Data

One = TypeVar("One")


def cut(items: Sequence[One], parts: int) -> list[Sequence[One]]:
    """`items` in `parts` runs as equal as can be, the longer ones first; none is empty."""
    return [items[place] for place in slices(len(items), parts)]


def slices(count: int, parts: int) -> list[slice]:
    """The places of `cut`."""
    ends = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(count), min(parts, count))]).tolist()
    return [slice(*ends[row : row + 2]) for row in range(len(ends) - 1)]


@dataclass(frozen=True)
class Lanes:
    """A program of some lanes, with what it takes to make that of a part of them."""

    program: Program
    build: Callable[[Numbers], Algorithm]
    numbers: Numbers
    count: int

    def __getitem__(self, place: slice) -> "Lanes":
        """Those at `place` alone."""
        if range(self.count)[place] == range(self.count):
            return self
        numbers = {name: values[place] for name, values in self.numbers.items()}
        # Without numbers of their own the lanes' functions are the same, and parts of one size share what is compiled.
        program = compile_lanes(self.build, numbers, self.program.period) if numbers else self.program
        return replace(self, program=program, numbers=numbers, count=len(range(self.count)[place]))


def make_lanes(build: Callable[[Numbers], Algorithm], numbers: Numbers, count: int, period: int) -> Lanes:
    """`count` lanes that differ in `numbers`; `UserError` as `compile_lanes`."""
    return Lanes(compile_lanes(build, numbers, period), build, numbers, count)


def in_parts(lanes: Lanes, parts: int, devices: Sequence[jax.Device]) -> tuple[Program, Layout]:
    """The program of `lanes` in `parts` parts, and how each lies over the devices: on as many as divide all parts."""
    whole, places = lanes.program, slices(lanes.count, parts)
    layout = make_layout([len(range(lanes.count)[place]) for place in places], devices)
    if len(places) == 1:
        return whole, layout
    programs = [lanes[place].program for place in places]

    def split(function: Callable[[Program], Callable[..., Any]], batched: Sequence[int]) -> Callable[..., Any]:
        """`function` of each part on its rows of the arguments numbered `batched`, put together again."""

        def call(*arguments: Any) -> Any:
            results = []
            for program, place in zip(programs, places, strict=True):
                rows = [_part(one, place, number in batched, layout) for number, one in enumerate(arguments)]
                results.append(jax.tree.map(_to_host, function(program)(*rows)))
            return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)

        return call

    divided = replace(
        whole,
        init=split(attrgetter("init"), (0, 2)),
        advance=split(attrgetter("advance"), (0, 2)),
        prepare=lambda *_: None,  # the parts are compiled in their turn
        deploy=split(attrgetter("deploy"), (0,)),
        conclude=split(attrgetter("conclude"), (0,)),
        act=split(attrgetter("act"), (0, 1)),
        variants={name: split(partial(_variant, name), (0, 1)) for name in whole.variants},
        programs=lambda: max(program.programs() for program in programs),
    )
    return divided, layout


def _variant(name: str, program: Program) -> Callable[..., Any]:
    return program.variants[name]


def _part(argument: Any, place: slice, batched: bool, layout: Layout) -> Any:
    """What the lanes at `place` are given of an argument; data are theirs too, but for what is a lane's own of them."""
    if isinstance(argument, Data):
        return argument._replace(own=_part(argument.own, place, True, layout))
    return layout.lanes(jax.tree.map(lambda leaf: jnp.array(leaf[place]), argument)) if batched else argument


def _to_host(leaf: jax.Array) -> np.ndarray[Any, Any]:
    return np.array(leaf, copy=True)
