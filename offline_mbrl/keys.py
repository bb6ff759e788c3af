"""Named streams of randomness, so that a new draw does not move the ones that were there."""

from zlib import crc32

import jax
import jax.numpy as jnp

from offline_mbrl.types import Array, Key


def stream(key: Key, name: str) -> Key:
    """The sub-key of `key` called `name`."""
    return jax.random.fold_in(key, crc32(name.encode()))


def indices(key: Key, count: int, size: Array | int) -> Array:
    """`count` row numbers in [0, size), uniform with replacement.

    32 random bits modulo `size`: a row's probability is off by at most size / 2^32 of itself (0.05 % for two million
    rows), for one draw of bits where `jax.random.randint` makes a split and two.
    """
    return (jax.random.bits(key, (count,)) % jnp.asarray(size, jnp.uint32)).astype(jnp.int32)
