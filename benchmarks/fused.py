"""All layers of an ensemble's member as one GPU kernel, beside the layers one by one as the package runs them.

Layer by layer every hidden array is written to memory and read back. In the kernel a tile of rows stays on the chip
from its inputs to its outputs, and a member's weights come from the cache, which its tiles share. It computes what
`mixed` does in rollouts, for values alone: it has no derivative. It is not part of the package: it compiles for a card
that is described and is right when it is interpreted, but whether it is faster only a card can say. This asks one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gpu
import jax
import jax.numpy as jnp
import tyro
from hlo import cost, kernels_of
from jax.experimental import pallas as pl
from measure import Line, command, timed
from tabulate import tabulate

from offline_mbrl.errors import UserError
from offline_mbrl.nn.layers import Layer, apply_layers, init_layers
from offline_mbrl.nn.precision import computing, imagining
from offline_mbrl.precision import Precision
from offline_mbrl.types import Array

ROWS, WIDTH = 128, 64
"""Rows of a tile, and columns of a piece of a hidden layer. Registers hold them: by ptxas none is spilled."""

WARPS = 8


@dataclass(frozen=True)
class Options:
    """What is run."""

    seeds: int = 32
    members: int = 7
    sizes: tuple[int, ...] = (14, 200, 200, 200, 200, 24)
    """Widths from inputs to outputs; those of hopper's published ensemble."""
    rows: int = 10_000
    """Of each member and seed."""
    repeats: int = 10
    described: str = ""
    """Compile for this card instead and count: h200, h100 or a100."""


def fused_layers(
    layers: Sequence[Layer], x: Array, half: Any = jnp.float16, call: Callable[..., Any] = pl.pallas_call
) -> Array:
    """`apply_layers` of inputs [N, B, i], up to the order of sums: [N, B, o].

    Args:
      layers: of N members.
      x: one batch for each.
      half: the type of hidden arrays.
      call: `pl.pallas_call` with what it needs beyond the kernel.
    """
    members, rows, inputs = x.shape
    sizes = padded_sizes([inputs, *(layer.bias.shape[-1] for layer in layers)])
    weights = []
    for number, layer in enumerate(layers):
        before, after = sizes[number : number + 2]
        weights.append(pad(layer.weight, before, after).astype(half if number else jnp.float32))
        weights.append(pad(layer.bias[:, None], 1, after)[:, 0])
    tiles = pl.cdiv(rows, ROWS)
    run = call(
        partial(through_one_member, half),
        grid=(members, tiles),
        in_specs=[tile_of(sizes[0]), *map(whole, weights)],
        out_specs=tile_of(sizes[-1]),
        out_shape=jax.ShapeDtypeStruct((members, tiles * ROWS, sizes[-1]), jnp.float32),
    )
    outputs: Array = run(pad(x, tiles * ROWS, sizes[0]), *weights)
    return outputs[:, :rows, : layers[-1].bias.shape[-1]]


def through_one_member(half: Any, x: Any, *refs: Any) -> None:
    """One tile of rows; a hidden array is a list of its pieces [ROWS, WIDTH]."""
    *hidden, last, last_bias, out = refs
    pieces = [x[...]]
    for weight, bias in zip(hidden[::2], hidden[1::2], strict=True):
        starts = range(0, bias.shape[0], WIDTH)
        before = [columns(pieces, weight, start, WIDTH).astype(half).astype(jnp.float32) for start in starts]
        pieces = [
            jax.nn.silu(piece + bias[pl.ds(start, WIDTH)][None]).astype(half)
            for start, piece in zip(starts, before, strict=True)
        ]
    out[...] = columns(pieces, last, 0, out.shape[1]) + last_bias[...][None]


def columns(pieces: Sequence[Array], weight: Any, start: int, width: int) -> Array:
    """Columns `start` to `start + width` of the product of an array, given by its pieces, with a weight."""
    rows = pieces[0].shape[1]
    parts = [
        jnp.dot(piece, weight[pl.ds(number * rows, rows), pl.ds(start, width)], preferred_element_type=jnp.float32)
        for number, piece in enumerate(pieces)
    ]
    return sum(parts[1:], start=parts[0])


def padded_sizes(sizes: Sequence[int]) -> list[int]:
    """Hidden widths as multiples of `WIDTH`; inputs and outputs as powers of two from 16 on."""
    first, *hidden, last = sizes
    ends = [max(16, pl.next_power_of_2(size)) for size in (first, last)]
    return [ends[0], *(WIDTH * pl.cdiv(size, WIDTH) for size in hidden), ends[1]]


def pad(x: Array, rows: int, columns: int) -> Array:
    """Zeros after the rows and columns of [N, r, c]; those of a weight reach nothing, since silu(0) = 0."""
    return jnp.pad(x, ((0, 0), (0, rows - x.shape[1]), (0, columns - x.shape[2])))


def tile_of(columns: int) -> pl.BlockSpec:
    """The tile of rows of one member."""
    return pl.BlockSpec((None, ROWS, columns), lambda member, tile: (member, tile, 0))


def whole(part: Array) -> pl.BlockSpec:
    """All of one member's part."""
    return pl.BlockSpec((None, *part.shape[1:]), lambda member, tile: (member, *(0,) * (part.ndim - 1)))


def on_gpu(layers: Sequence[Layer], x: Array) -> Array:
    """`fused_layers` by Triton."""
    from jax.experimental.pallas import triton  # a jax without GPU support may lack it

    settings = triton.CompilerParams(num_warps=WARPS, num_stages=1)
    return fused_layers(layers, x, call=partial(pl.pallas_call, compiler_params=settings))


FORMS: dict[str, tuple[Precision, Callable[..., Array]]] = {
    "layer by layer, default": ("default", apply_layers),
    "layer by layer, mixed": ("mixed", apply_layers),
    "one kernel": ("mixed", on_gpu),
}


def main(options: Options) -> None:
    """Prints a line for each form."""
    if options.described:
        gpu.get_gpu(options.described)
        gpu.prepare()
    elif jax.default_backend() != "gpu":
        raise UserError("there is no GPU to time it on; --described h200 compiles it for one")
    print(tabulate(count(options) if options.described else time(options), headers="keys", floatfmt=".3g"))


def arguments(options: Options) -> tuple[tuple[Layer, ...], Array]:
    """Layers and inputs of all seeds."""
    keys = jax.random.split(jax.random.key(0), options.seeds)
    layers = jax.vmap(partial(init_layers, options.members, options.sizes))(keys)
    return layers, jax.random.normal(
        jax.random.key(1), (options.seeds, options.members, options.rows, options.sizes[0])
    )


def count(options: Options) -> list[Line]:
    """Kernels and the bytes that they move, of what does not stay in a cache; the kernel's weights do."""
    shapes, lines = jax.eval_shape(partial(arguments, options)), []
    for name, (precision, form) in FORMS.items():
        with computing(precision), imagining():
            total = cost(kernels_of(gpu.compile_for(gpu.get_gpu(options.described), jax.vmap(form), *shapes)))
        rows = options.seeds * options.members * options.rows
        lines.append({"form": name, "kernels": int(total.kernels), "kB a member's row": total.bytes / rows / 1e3})
    return lines


def time(options: Options) -> list[Line]:
    """Milliseconds, and how far outputs are from float32's, relative to their own deviation."""
    given = arguments(options)
    with computing("highest"):
        exact = jax.jit(jax.vmap(apply_layers))(*given)
    lines = []
    for name, (precision, form) in FORMS.items():
        with computing(precision), imagining():
            run = jax.jit(jax.vmap(form))
            off = jnp.median(jnp.abs(run(*given) - exact)) / exact.std()
            (seconds,) = timed([partial(run, *given)], options.repeats)
        lines.append({"form": name, "ms": 1e3 * seconds, "error": float(off)})
    return lines


if __name__ == "__main__":
    command(main, tyro.cli(Options, description=__doc__))
