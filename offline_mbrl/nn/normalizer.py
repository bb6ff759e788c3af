"""Per-feature standardization as a pytree."""

import jax
import jax.numpy as jnp
from flax import struct

from offline_mbrl.types import Array

TINY_STD = 1e-12
ROUNDING = 1e-6
"""A feature that varies less than `TINY_STD`, or `ROUNDING` of its mean, is constant: it is shifted, not scaled."""


class Normalizer(struct.PyTreeNode):
    """x -> (x - mean) / std over the last axis."""

    mean: Array  # [d]
    std: Array  # [d] population standard deviation, 1 for constant features

    @classmethod
    def fit(cls, x: Array, margin: float = 0.0) -> "Normalizer":
        """Mean and standard deviation of rows [n, d], over the first axis; `margin` widens every deviation."""
        mean, std = x.mean(axis=0), x.std(axis=0) + margin
        constant = std < jnp.maximum(TINY_STD, ROUNDING * jnp.abs(mean))
        return cls(mean=mean, std=jnp.where(constant, 1.0, std))

    def apply(self, x: Array) -> Array:
        """Standardized x [..., d]."""
        return (x - self.mean) / self.std

    def invert(self, z: Array) -> Array:
        """The x [..., d] that `apply` turns into z."""
        return z * self.std + self.mean


fit_normalizer = jax.jit(Normalizer.fit)
"""`Normalizer.fit` as the one program that all share: a method is another function each time it is asked for."""
