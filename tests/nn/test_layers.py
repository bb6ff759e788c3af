"""The product whose derivative keeps the weights' layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.nn.layers import product
from offline_mbrl.nn.networks import dense_product
from offline_mbrl.types import Array


def test_the_product_and_its_derivatives_by_hand() -> None:
    x, weight = jnp.array([[1.0, 2.0]]), jnp.array([[3.0], [5.0]])
    value, pull = jax.vjp(product, x, weight)
    dx, dweight = pull(jnp.array([[2.0]]))
    np.testing.assert_array_equal(value, [[13.0]])
    np.testing.assert_array_equal(dx, [[6.0, 10.0]])  # g W^T
    np.testing.assert_array_equal(dweight, [[2.0], [4.0]])  # x^T g


@pytest.mark.parametrize("members", [(), (3,)])
def test_the_derivative_is_that_of_the_plain_product(members: tuple[int, ...]) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((*members, 4, 5), (*members, 5, 6), (*members, 4, 6))
    x, weight, direction = (jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))

    def along(multiply: object) -> Array:
        def loss(x: Array, weight: Array) -> Array:
            return (jnp.tanh(multiply(x, weight)) * direction).sum()  # type: ignore[operator]

        return jax.grad(loss, argnums=(0, 1))(x, weight)

    for own, plain in zip(along(product), along(jnp.matmul), strict=True):
        np.testing.assert_allclose(own, plain, rtol=1e-5, atol=1e-6)


def test_a_dense_layer_takes_rows_of_any_shape() -> None:
    x, weight = jnp.arange(24.0).reshape(2, 3, 4), jnp.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(dense_product(x, weight), x @ weight)
    np.testing.assert_array_equal(dense_product(x[0, 0], weight), x[0, 0] @ weight)
    assert dense_product(x[:0], weight).shape == (0, 3, 2)
