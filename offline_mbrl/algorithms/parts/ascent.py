"""The search for an embedding that scores high: normalized gradient ascent in a box (DROP)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from offline_mbrl.types import Array

Score = Callable[[Array], Array]
"""Embedding z [dz] -> its score."""


def ascend(score: Score, start: Array, steps: int, size: float) -> Array:
    """The best of `start` and `steps` iterates z <- clip(z + size grad / ||grad||, -1, 1): never worse than `start`."""

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        z, best, highest = carry
        value, slope = jax.value_and_grad(score)(z)
        best, highest = jnp.where(value > highest, z, best), jnp.maximum(value, highest)
        z = jnp.clip(z + size * slope / (jnp.linalg.norm(slope) + 1e-8), -1.0, 1.0)
        return (z, best, highest), None

    (last, best, highest), _ = jax.lax.scan(step, (start, start, jnp.asarray(-jnp.inf)), length=steps)
    return jnp.where(score(last) > highest, last, best)
