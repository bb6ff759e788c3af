"""Data cut into subsets by what their episodes are ranked by: contiguous groups with equally many episodes (DROP)."""

import jax
import jax.numpy as jnp

from offline_mbrl.types import Array


def order_key(episode_return: Array, salt: Array | None) -> Array:
    """What episodes are ranked by: their return, or a hash of it with `salt` (Murmur3's last mix) for random groups."""
    if salt is None:
        return episode_return
    x = jax.lax.bitcast_convert_type(episode_return, jnp.uint32) ^ salt
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return ((x ^ (x >> 16)) >> 8).astype(jnp.float32)


def subset_thresholds(keys: Array, is_first: Array, count: int) -> Array:
    """The lowest key of each of `count` contiguous groups with equally many episodes: [count].

    Args:
      keys: [n] the key of each row's episode.
      is_first: [n] bool, the row starts an episode.
      count: N; with fewer episodes some groups are empty.
    """
    ranked = jnp.sort(jnp.where(is_first, keys, jnp.inf))
    return ranked[jnp.arange(count) * is_first.sum() // count]


def subset_of(keys: Array, thresholds: Array) -> Array:
    """The group of each key, the first for keys below them all: int32."""
    return jnp.maximum(jnp.searchsorted(thresholds, keys, side="right") - 1, 0).astype(jnp.int32)
