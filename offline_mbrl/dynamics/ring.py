"""A ring buffer of transitions with fixed shapes: `empty`, `push` (masked), `sample`."""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from offline_mbrl.keys import indices
from offline_mbrl.types import Array, Key, Transition


class Ring(struct.PyTreeNode):
    """The last `capacity` live rows that were pushed; rows at or beyond `size` were never written."""

    rows: Transition  # leading axis capacity
    head: Array  # int32, where the next row goes
    size: Array  # int32, rows written so far, at most capacity

    @property
    def capacity(self) -> int:
        return self.rows.reward.shape[0]


def empty(capacity: int, obs_dim: int, action_dim: int) -> Ring:
    """A ring that holds nothing yet."""
    rows = Transition(
        obs=jnp.zeros((capacity, obs_dim)),
        action=jnp.zeros((capacity, action_dim)),
        reward=jnp.zeros(capacity),
        discount=jnp.zeros(capacity),
        next_obs=jnp.zeros((capacity, obs_dim)),
    )
    return Ring(rows=rows, head=jnp.zeros((), jnp.int32), size=jnp.zeros((), jnp.int32))


def emptied(ring: Ring) -> Ring:
    """A ring of one row that holds nothing, for rows as wide as those of `ring`."""
    return empty(1, ring.rows.obs.shape[-1], ring.rows.action.shape[-1])


def push(ring: Ring, rows: Transition, alive: Array) -> Ring:
    """Appends the live ones of `rows` in order and overwrites the oldest.

    Live rows go to (head + rank) mod capacity; dead ones to an index out of range, which the scatter drops, so
    that shapes stay fixed and no dead row is ever stored.

    Args:
      ring: the buffer; donate it to update in place.
      rows: transitions [n, ...] with n <= capacity.
      alive: [n] bool, the rows to store.
    """
    chex.assert_rank(alive, 1)
    capacity = ring.capacity
    if alive.shape[0] > capacity:
        raise ValueError(f"cannot push {alive.shape[0]} rows into a ring of {capacity}")
    rank = jnp.cumsum(alive, dtype=jnp.int32)
    slot = jnp.where(alive, (ring.head + rank - 1) % capacity, capacity)
    stored = jax.tree.map(lambda old, new: old.at[slot].set(new, mode="drop", unique_indices=False), ring.rows, rows)
    count = rank[-1]
    return Ring(rows=stored, head=(ring.head + count) % capacity, size=jnp.minimum(ring.size + count, capacity))


def sample(ring: Ring, key: Key, batch_size: int) -> Transition:
    """`batch_size` written rows, uniform with replacement. The ring must hold at least one row."""
    index = indices(key, batch_size, ring.size)
    return jax.tree.map(lambda leaf: leaf[index], ring.rows)
