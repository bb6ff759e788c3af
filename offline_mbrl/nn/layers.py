"""The layers of several networks at once: one product for each layer of all members."""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp

from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Key


class Layer(NamedTuple):
    """One linear layer of every member."""

    weight: Array  # [members, inputs, outputs]
    bias: Array  # [members, outputs]


def init_layers(members: int, sizes: tuple[int, ...], key: Key) -> tuple[Layer, ...]:
    """Truncated-normal weights, std 1 / (2 sqrt(fan_in)) cut at two of them, and zero biases."""
    keys = jax.random.split(stream(key, "weights"), len(sizes) - 1)
    draw = jax.nn.initializers.truncated_normal(1.0)
    return tuple(
        Layer(draw(k, (members, rows, columns)) / (2 * rows**0.5), jnp.zeros((members, columns)))
        for k, (rows, columns) in zip(keys, pairwise(sizes), strict=True)
    )


def apply_layers(layers: tuple[Layer, ...], x: Array) -> Array:
    """Raw outputs [N, B, o] of inputs [N, B, i], one batch for each member."""
    for layer in layers[:-1]:
        x = jax.nn.silu(jnp.einsum("nbi,nio->nbo", x, layer.weight) + layer.bias[:, None])
    return jnp.einsum("nbi,nio->nbo", x, layers[-1].weight) + layers[-1].bias[:, None]
