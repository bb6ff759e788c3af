"""How the layers of actors and critics are drawn: our default, and those of the code whose settings presets take."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from offline_mbrl.types import Array, Key

Initializer = nn.initializers.Initializer

LayerInit = Callable[[int, int, bool], tuple[Initializer, Initializer]]
"""(inputs, outputs, whether it is a network's last layer) -> how weights [inputs, outputs] and biases are drawn."""

Init = Literal["glorot", "torch", "torch-small", "rlkit"]
"""Glorot-uniform weights and zero biases; PyTorch's default; that with last layers near zero; rlkit's."""

SMALL = 3e-3
"""Bound of a last layer near zero, since Lillicrap et al. 2016 (DDPG, arXiv 1509.02971)."""


def zero_biased(weights: Initializer) -> LayerInit:
    """Layers with weights drawn by `weights`, and zero biases."""

    def layer(inputs: int, outputs: int, last: bool) -> tuple[Initializer, Initializer]:
        return weights, nn.initializers.zeros

    return layer


glorot = zero_biased(nn.initializers.glorot_uniform())
"""Glorot-uniform weights and zero biases."""


def uniform(bound: float) -> Initializer:
    """Uniform in +-bound."""

    def draw(key: Key, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -bound, bound)

    return draw


def torch(inputs: int, outputs: int, last: bool) -> tuple[Initializer, Initializer]:
    """The default of `torch.nn.Linear`: weights and biases uniform in +-1 / sqrt(inputs)."""
    return uniform(inputs**-0.5), uniform(inputs**-0.5)


def torch_small(inputs: int, outputs: int, last: bool) -> tuple[Initializer, Initializer]:
    """PyTorch's default, and a last layer uniform in +-3e-3: the networks of CROP's code (G0K0URURI/CROP, model.py)."""
    return (uniform(SMALL), uniform(SMALL)) if last else torch(inputs, outputs, last)


def rlkit(inputs: int, outputs: int, last: bool, *, actor: bool) -> tuple[Initializer, Initializer]:
    """The networks of rlkit, as EDAC's code has them (snu-mllab/EDAC, models/networks.py, tanh_gaussian_policy.py).

    Hidden biases are 0.1 and hidden weights uniform in +-1 / sqrt(n), n being the first axis of the array: inputs in
    the critics, which lie as [inputs, outputs], outputs in the actor, whose `torch.nn.Linear` has them first. The last
    layer is uniform in +-3e-3 in a critic and +-1e-3 in an actor.
    """
    if last:
        bound = 1e-3 if actor else SMALL
        return uniform(bound), uniform(bound)
    return uniform((outputs if actor else inputs) ** -0.5), nn.initializers.constant(0.1)


ACTORS: Mapping[Init, LayerInit] = {
    "glorot": glorot,
    "torch": torch,
    "torch-small": torch_small,
    "rlkit": partial(rlkit, actor=True),
}
CRITICS: Mapping[Init, LayerInit] = {**ACTORS, "rlkit": partial(rlkit, actor=False)}
"""By the name of the setting `init`."""


def orthogonal(scale: float, iterations: int = 60) -> Initializer:
    """Weights with orthonormal rows or columns times `scale`, drawn uniformly: the polar factor of a Gaussian matrix.

    Newton-Schulz iteration, x <- 3/2 x - 1/2 x x^T x, takes every singular value to 1. JAX's own initializer factorizes
    by LAPACK; a batch of those, one for each seed, can wait forever on a CPU for the thread pool that it runs in.
    """

    def draw(key: Key, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        rows, columns = shape
        x = jax.random.normal(key, (min(shape), max(shape)), dtype)
        product = partial(jnp.matmul, precision="highest")

        def step(_: int, x: Array) -> Array:
            return 1.5 * x - 0.5 * product(product(x, x.T), x)

        x = jax.lax.fori_loop(0, iterations, step, x / jnp.linalg.norm(x))
        return scale * (x.T if rows > columns else x)

    return draw
