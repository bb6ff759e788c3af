"""Arithmetic in float64 that every processor rounds alike.

Sums are the trouble: a matrix product adds up in an order that the width of the vector unit decides, and an episode of
a robot parts within some hundred steps from one that differs in a last bit. Here the factors of a product are cut to so
few bits that its sums are exact, in whatever order; functions are made of +, * and / alone, each of which IEEE 754
defines to the bit.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGNIFICAND = 53
"""Bits of a float64."""

INPUT_BITS = 24
"""What is kept of the inputs of a layer: the bits of a float32."""

MOST = 20.0
"""tanh beyond it is 1 to the last bit."""


class Linear(NamedTuple):
    """An affine layer whose sums of products are exact."""

    kernel: Floats  # [inputs, outputs] cut to the bits that inputs and the length of the sum leave
    bias: Floats  # [outputs]

    @classmethod
    def of(cls, kernel: NDArray[np.floating], bias: NDArray[np.floating]) -> "Linear":
        """The layer with weights [inputs, outputs] cut relative to the largest of each output."""
        carry = (len(kernel) - 1).bit_length()  # bits that a sum of so many terms grows by
        return cls(cut(kernel, SIGNIFICAND - INPUT_BITS - carry, axis=0), bias.astype(np.float64))

    def __call__(self, x: Floats) -> Floats:
        """[B, outputs] of inputs [B, inputs], which are cut relative to the largest of each row."""
        # NumPy's own loop: the threads of a BLAS wait longer for each other than so small a product takes.
        products: Floats = np.einsum("bi,io->bo", cut(x, INPUT_BITS, axis=1), self.kernel)
        return products + self.bias


def cut(x: NDArray[np.floating], bits: int, axis: int) -> Floats:
    """`x` rounded to multiples of 2^-bits of the power of two that bounds its magnitudes along `axis`."""
    exponent = np.frexp(np.abs(x).max(axis=axis, keepdims=True))[1]
    unit = np.ldexp(1.0, exponent - bits)
    result: Floats = np.rint(x / unit) * unit
    return result


def exp(x: Floats) -> Floats:
    """e^x to 1e-14 of itself for |x| <= 2 `MOST`: 2^k e^r with |r| <= ln(2)/2, and the Taylor series of e^r."""
    power = np.rint(x / math.log(2))
    rest = x - power * math.log(2)
    series = np.ones_like(x)
    for order in range(13, 0, -1):
        series = 1.0 + series * rest / order
    result: Floats = np.ldexp(series, power.astype(np.int32))
    return result


def tanh(x: Floats) -> Floats:
    """tanh x = sign(x) (1 - 2 / (1 + e^(2|x|))) to 1e-15."""
    result: Floats = np.sign(x) * (1.0 - 2.0 / (1.0 + exp(2.0 * np.minimum(np.abs(x), MOST))))
    return result
