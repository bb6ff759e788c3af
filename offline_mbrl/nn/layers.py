"""The layers of several networks at once: one product for each layer of all members."""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp

from offline_mbrl.keys import stream
from offline_mbrl.nn.precision import hidden_type, product_precision
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
    """x W: [..., B, i] and [..., i, o] -> [..., B, o] in float32, with equal leading axes: those of members, if any.

    Weights and gradients are multiplied in the type of x, and summed in float32. The derivative gives dW as x^T g, in
    the layout of W. JAX's own rule gives (g^T x)^T, for which XLA copies weights and moments into another layout at
    every step.
    """
    return _multiply("...bi,...io->...bo", x, weight.astype(x.dtype))


def _forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x, weight), (x, weight)


def _backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, weight = saved
    grad = grad.astype(x.dtype)
    dx = _multiply("...bo,...io->...bi", grad, weight.astype(x.dtype)).astype(x.dtype)
    return dx, _multiply("...bi,...bo->...io", x, grad)


product.defvjp(_forward, _backward)


def _multiply(axes: str, x: Array, y: Array) -> Array:
    return jnp.einsum(axes, x, y, precision=product_precision(), preferred_element_type=jnp.float32)


def stored(x: Array) -> Array:
    """A hidden array in the type in which the policy in force keeps it."""
    return x.astype(hidden_type())


def apply_layers(layers: tuple[Layer, ...], x: Array) -> Array:
    """Raw outputs [N, B, o] of inputs [N, B, i], one batch for each member."""
    for layer in layers[:-1]:
        x = stored(jax.nn.silu(stored(product(x, layer.weight)) + layer.bias[:, None]))
    return product(x, layers[-1].weight) + layers[-1].bias[:, None]
