"""The ring never forgets a live row too early, and never holds a dead or unwritten one."""

from collections import deque
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.types import Array, Transition


def labelled(labels: Array) -> Transition:
    """Rows that carry their label in every component."""
    flat = labels.astype(jnp.float32)
    wide = jnp.tile(flat[:, None], (1, 2))
    return Transition(wide, wide[:, :1], flat, flat, wide)


def contents(held: Ring) -> list[float]:
    """The labels of the written rows, in slot order; every component of a row must carry its label."""
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[: int(held.size)], held.rows)
    for leaf in rows:
        np.testing.assert_array_equal(leaf.reshape(len(rows.reward), -1).max(axis=1), rows.reward)
        np.testing.assert_array_equal(leaf.reshape(len(rows.reward), -1).min(axis=1), rows.reward)
    return [float(label) for label in rows.reward]


@pytest.mark.parametrize("seed", range(4))
def test_holds_the_last_live_rows_under_random_masks(seed: int) -> None:
    """Against a queue of limited length, over pushes of which random parts, sometimes none or all, are dead."""
    generator, capacity, push = np.random.default_rng(seed), 11, jax.jit(ring.push)
    held, expected = ring.empty(capacity, 2, 1), deque[float](maxlen=capacity)
    for turn in range(12):
        labels = 1 + 6 * turn + np.arange(6)
        alive = generator.random(6) < generator.choice([0.0, 0.3, 0.9, 1.0])
        held = push(held, labelled(jnp.asarray(labels)), jnp.asarray(alive))
        expected.extend(labels[alive].tolist())
        assert sorted(contents(held)) == sorted(expected)
        assert int(held.size) == len(expected)


@pytest.mark.parametrize("refreshes", [1, 2, 3, 4, 7])
def test_after_k_refreshes_it_holds_the_last_r_blocks(refreshes: int) -> None:
    retain, block = 3, 8
    held = ring.empty(retain * block, 2, 1)
    for number in range(1, refreshes + 1):
        held = ring.push(held, labelled(jnp.full(block, number)), jnp.ones(block, bool))
    kept = range(max(1, refreshes - retain + 1), refreshes + 1)
    assert sorted(contents(held)) == sorted(float(number) for number in kept for _ in range(block))


def test_sample_returns_only_written_rows_and_each_as_often() -> None:
    """Unwritten rows are zeros and dead rows carry -1; neither may ever come back."""
    labels = jnp.where(jnp.arange(20) % 2 == 0, jnp.arange(20) + 1, -1)
    held = ring.push(ring.empty(64, 2, 1), labelled(labels), labels > 0)
    drawn = np.asarray(ring.sample(held, jax.random.key(0), 40_000).reward)
    found, counts = np.unique(drawn, return_counts=True)
    assert found.tolist() == [float(label) for label in range(1, 20, 2)]
    np.testing.assert_allclose(counts / 40_000, 0.1, atol=5 * np.sqrt(0.1 / 40_000))


def test_seeds_with_different_numbers_of_live_rows() -> None:
    """Under vmap every seed has a head and a size of its own."""
    alive = jnp.arange(5)[None] < jnp.array([0, 2, 5])[:, None]
    held = jax.vmap(lambda _: ring.empty(4 * 5, 2, 1))(jnp.arange(3))
    push = jax.jit(jax.vmap(ring.push, in_axes=(0, None, 0)))
    for turn in range(3):
        held = push(held, labelled(1 + 5 * turn + jnp.arange(5)), alive)
    assert held.size.tolist() == [0, 6, 15]
    assert contents(jax.tree.map(lambda leaf: leaf[1], held)) == [1.0, 2.0, 6.0, 7.0, 11.0, 12.0]
    drawn = jax.vmap(partial(ring.sample, batch_size=500))(held, jax.random.split(jax.random.key(0), 3)).reward
    assert set(np.asarray(drawn[1]).tolist()) == {1.0, 2.0, 6.0, 7.0, 11.0, 12.0}


def test_a_push_larger_than_the_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot push 5 rows into a ring of 4"):
        ring.push(ring.empty(4, 2, 1), labelled(jnp.arange(5)), jnp.ones(5, bool))
