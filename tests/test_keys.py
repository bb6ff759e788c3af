"""Named streams of randomness and row numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.keys import indices, stream


def data(key: jax.Array) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def test_stream_is_a_function_of_key_and_name() -> None:
    key = jax.random.key(3)
    names = ["actor", "critic", "target", "sample", "update", "refresh", "step", "init", "train", "fit", ""]
    assert len({data(stream(key, name)) for name in names} | {data(key)}) == len(names) + 1
    assert data(stream(key, "actor")) == data(stream(jax.random.key(3), "actor"))
    assert data(stream(key, "actor")) != data(stream(jax.random.key(4), "actor"))


def test_stream_does_not_depend_on_the_process() -> None:
    """Python's own hash of a string is salted anew in every process; the CRC-32 of "actor" is not."""
    assert data(stream(jax.random.key(0), "actor")) == data(jax.random.fold_in(jax.random.key(0), 0x447556F9))


def test_indices_stay_in_range_and_are_uniform() -> None:
    drawn = np.asarray(jax.jit(indices, static_argnums=1)(jax.random.key(0), 70_000, jnp.int32(7)))
    assert drawn.dtype == np.int32
    counts = np.bincount(drawn, minlength=7)
    assert counts.size == 7
    np.testing.assert_allclose(counts / 70_000, 1 / 7, atol=5 * np.sqrt(1 / 7 / 70_000))


def test_indices_of_a_single_row_and_of_sizes_that_differ_by_seed() -> None:
    assert not np.asarray(indices(jax.random.key(0), 50, 1)).any()
    keys, sizes = jax.random.split(jax.random.key(1), 2), jnp.array([3, 1000])
    drawn = np.asarray(jax.vmap(lambda key, size: indices(key, 5000, size))(keys, sizes))
    assert drawn[0].max() == 2
    assert 900 < drawn[1].max() < 1000
