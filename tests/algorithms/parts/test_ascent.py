"""The search for a high score on landscapes whose tops are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts.ascent import ascend
from offline_mbrl.types import Array

pytestmark = pytest.mark.medium


def test_the_search_climbs_stays_in_the_box_and_never_returns_worse_than_its_start() -> None:
    top = jnp.asarray([0.4, -0.3])

    def hill(z: Array) -> Array:
        return -jnp.square(z - top).sum()

    def rough(z: Array) -> Array:
        return jnp.sin(37 * z).sum()

    end = jax.jit(lambda z: ascend(hill, z, 40, 0.05))(jnp.asarray([-0.9, 0.9]))
    np.testing.assert_allclose(end, top, atol=0.05)
    np.testing.assert_array_equal(ascend(hill, top, 10, 0.5), top)
    outward = ascend(lambda z: z.sum(), jnp.zeros(2), 50, 0.1)
    np.testing.assert_allclose(outward, [1.0, 1.0])
    for start in np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32):
        assert rough(ascend(rough, jnp.asarray(start), 7, 0.3)) >= rough(start)
    assert (ascend(rough, jnp.asarray([0.2, 0.1]), 0, 0.3) == jnp.asarray([0.2, 0.1])).all()
