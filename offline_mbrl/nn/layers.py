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


@jax.custom_vjp
def product(x: Array, weight: Array) -> Array:
    """x W: [..., B, i] and [..., i, o] -> [..., B, o], with equal leading axes: those of members, if any.

    Its derivative gives dW as x^T g, in the layout of W. JAX's own rule gives (g^T x)^T, for which XLA copies weights
    and moments into another layout at every step.
    """
    return x @ weight


def _forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x, weight), (x, weight)


def _backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, weight = saved
    return jnp.einsum("...bo,...io->...bi", grad, weight), jnp.einsum("...bi,...bo->...io", x, grad)


product.defvjp(_forward, _backward)


def apply_layers(layers: tuple[Layer, ...], x: Array) -> Array:
    """Raw outputs [N, B, o] of inputs [N, B, i], one batch for each member."""
    for layer in layers[:-1]:
        x = jax.nn.silu(product(x, layer.weight) + layer.bias[:, None])
    return product(x, layers[-1].weight) + layers[-1].bias[:, None]
