"""Floating-point operations of a function, counted from the shapes in its jaxpr: 2 M N K for every matrix product.

Elementwise work, sampling and optimizers are left out (a few per cent of these programs).
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, cast

import jax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def count_flops(function: Callable[..., Any], *args: Any) -> int:
    """FLOP of the matrix products in one call of `function(*args)`; arguments may be shape structures."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: JaxprEqn) -> int:
    if equation.primitive.name == "dot_general":
        return _dot(equation)
    repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
    return int(repeats * sum(_count(inner) for inner in _inner(equation)))


def _dot(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = cast(ShapedArray, equation.invars[0].aval).shape
    out = cast(ShapedArray, equation.outvars[0].aval).shape
    return 2 * prod(out) * prod(left[axis] for axis in contracted)


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The jaxprs that an equation runs: bodies of loops, calls and custom derivatives."""
    bodies = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: isinstance(leaf, ClosedJaxpr | Jaxpr))
    for value in bodies:
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value
