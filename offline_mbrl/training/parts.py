"""A program whose lanes run part after part: less memory on the device at a time, the same numbers up to rounding.

The states of the lanes whose turn it is not wait in the host's memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.training.loop import Numbers, Program, compile_lanes

One = TypeVar("One")


def cut(items: Sequence[One], parts: int) -> list[Sequence[One]]:
    """`items` in `parts` runs as equal as can be, the longer ones first; none is empty."""
    return [items[place] for place in slices(len(items), parts)]


def slices(count: int, parts: int) -> list[slice]:
    """The places of `cut`."""
    ends = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(count), min(parts, count))]).tolist()
    return [slice(*ends[row : row + 2]) for row in range(len(ends) - 1)]


def in_parts(
    whole: Program, build: Callable[[Numbers], Algorithm], numbers: Numbers, lanes: int, parts: int
) -> Program:
    """The program `whole`, made by `compile_lanes(build, numbers, ...)` for `lanes` lanes, in `parts` parts."""
    if min(parts, lanes) == 1:
        return whole
    places = slices(lanes, parts)
    # Without numbers of their own the lanes' functions are the same, and parts of one size share what is compiled.
    programs = [
        compile_lanes(build, {name: values[place] for name, values in numbers.items()}, whole.period)
        if numbers
        else whole
        for place in places
    ]

    def split(function: Callable[[Program], Callable[..., Any]], batched: Sequence[int]) -> Callable[..., Any]:
        """`function` of each part on its rows of the arguments numbered `batched`, put together again."""

        def call(*arguments: Any) -> Any:
            results = []
            for program, place in zip(programs, places, strict=True):
                rows = [_rows(one, place) if number in batched else one for number, one in enumerate(arguments)]
                results.append(jax.tree.map(_to_host, function(program)(*rows)))
            return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)

        return call

    return replace(
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


def _variant(name: str, program: Program) -> Callable[..., Any]:
    return program.variants[name]


def _rows(tree: Any, place: slice) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf[place]), tree)


def _to_host(leaf: jax.Array) -> np.ndarray[Any, Any]:
    return np.array(leaf, copy=True)
