"""Floating-point operations of a function, counted from the shapes in its jaxpr: 2 M N K for every matrix product.

Elementwise work, sampling and optimizers are left out (a few per cent of these programs).
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, cast

import jax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

BY_HAND = {
    "sac": 1.0,
    "mopo": 1.0,
    "morel": 1.0,
    "rambo": 1.0,
    "rambo adversary": 4.8,
    "combo": 24.0,
    "cql": 24.0,
    "mobile": 11.0,
    "micro": 11.0,
    "iql": 0.93,
    "td3_bc": 0.72,
    "bc": 0.19,
}
"""FLOP of one gradient step on the hopper in units of SAC's 0.564 G, counted on paper from the widths of the layers.

A check of what is counted below, and of programs that compute more than they need to.
"""


def count_flops(function: Callable[..., Any], *args: Any) -> int:
    """FLOP of the matrix products in one call of `function(*args)`; arguments may be shape structures."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    return sum(_count_equation(equation) for equation in _used(jaxpr))


def _used(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """The equations that the outputs need, the last first; XLA leaves out the rest, such as unused gradients."""
    needed = {id(variable) for variable in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if needed & {id(variable) for variable in equation.outvars}:
            needed |= {id(variable) for variable in equation.invars}
            yield equation


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
