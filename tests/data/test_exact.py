import math
from fractions import Fraction

import numpy as np
import pytest

from offline_mbrl.data.exact import INPUT_BITS, Linear, cut, exp, tanh


def test_what_is_cut_is_a_multiple_of_its_unit_and_near() -> None:
    # 5 bits below 8, the power of two that bounds 5: units of 1/4.
    np.testing.assert_array_equal(cut(np.array([[5.0, 1.1, -0.13, 0.1]]), 5, axis=1), [[5.0, 1.0, -0.25, 0.0]])
    np.testing.assert_array_equal(cut(np.zeros((2, 3)), 5, axis=1), np.zeros((2, 3)))


def test_inputs_that_float32_can_hold_are_kept_as_they_are() -> None:
    x = np.random.default_rng(0).uniform(1.0, 2.0, (3, 100)).astype(np.float32)
    np.testing.assert_array_equal(cut(x, INPUT_BITS, axis=1), x)


@pytest.mark.parametrize("inputs", [1, 11, 256, 257])
def test_a_layers_sums_are_exact_and_so_the_same_in_every_order(inputs: int) -> None:
    generator = np.random.default_rng(inputs)
    layer = Linear.of(generator.normal(size=(inputs, 4)), np.zeros(4))
    x = generator.normal(size=(2, inputs)) * 10.0 ** generator.integers(-3, 3, (2, inputs))
    terms = [[[Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True)] for column in layer.kernel.T]
             for row in cut(x, INPUT_BITS, axis=1)]  # fmt: skip
    expected = [[sum(products, Fraction()) for products in row] for row in terms]
    assert all(Fraction(float(total)) == total for row in expected for total in row)
    np.testing.assert_array_equal(layer(x), np.array(expected, np.float64))
    order = generator.permutation(inputs)
    np.testing.assert_array_equal(layer(x), layer._replace(kernel=layer.kernel[order])(x[:, order]))


def test_a_layer_loses_no_more_than_the_cut() -> None:
    generator = np.random.default_rng(0)
    kernel, bias, x = (generator.uniform(-1, 1, shape) for shape in ((256, 8), (8,), (5, 256)))
    # 256 terms, of which each weight is off by at most half of 2^-21 and each input by half of 2^-24.
    np.testing.assert_allclose(Linear.of(kernel, bias)(x), x @ kernel + bias, rtol=0, atol=256 * (2**-22 + 2**-25))


def test_exp_is_eulers() -> None:
    x = np.concatenate([np.linspace(-40, 40, 1001), [0.0, 1.0, -1e-9]])
    np.testing.assert_allclose(exp(x), [math.exp(one) for one in x], rtol=1e-14)


def test_tanh_is_the_hyperbolic_tangent() -> None:
    x = np.concatenate([np.linspace(-25, 25, 1001), [0.0, 1e-7, -1e-3, 1e300, -np.inf]])
    np.testing.assert_allclose(tanh(x), [math.tanh(one) for one in x], rtol=0, atol=4e-16)
