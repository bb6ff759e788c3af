"""Named precisions: what `mixed` stores and rounds, what stays float32, and that no two share a program."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import offline_mbrl as om
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.dynamics.rollout import ModelStep, rollout
from offline_mbrl.nn.layers import Layer, apply_layers, init_layers, product, stored
from offline_mbrl.nn.networks import MLP, apply, init_params
from offline_mbrl.nn.precision import acting, computing, hidden_type, imagining
from offline_mbrl.training.experiment import numpy_policy
from offline_mbrl.training.loop import compile_program
from offline_mbrl.types import Array, Key, Problem, Transition

UNIT = 2.0**-8
"""Of bfloat16: what rounding to nearest moves a number by at most, relative to it."""


@pytest.mark.parametrize(
    ("precision", "trained", "imagined"),
    [
        ("default", jnp.float32, jnp.float32),
        ("highest", jnp.float32, jnp.float32),
        ("mixed", jnp.bfloat16, jnp.float16),
    ],
)
def test_what_a_hidden_array_is_stored_as(precision: str, trained: object, imagined: object) -> None:
    with computing(precision):
        assert stored(jnp.ones(2)).dtype == hidden_type() == trained
        with imagining():
            assert stored(jnp.ones(2)).dtype == imagined
        with acting():
            assert hidden_type() == jnp.float32
    assert hidden_type() == jnp.float32


def test_a_product_of_halves_is_summed_in_float32_and_gives_float32() -> None:
    x, weight = jnp.array([[1.0, 2.0**-10]], jnp.bfloat16), jnp.ones((2, 1))
    value, pull = jax.vjp(product, x, weight)
    assert (value.dtype, float(value[0, 0])) == (jnp.float32, 1 + 2.0**-10)  # a sum in bfloat16 would be 1
    dx, dweight = pull(jnp.array([[1 + 2.0**-9]]))  # the gradient is rounded to 1
    assert (dx.dtype, dweight.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(dx.astype(jnp.float32), [[1.0, 1.0]])
    np.testing.assert_array_equal(dweight, [[1.0], [2.0**-10]])


def test_hidden_arrays_are_rounded_and_inputs_and_outputs_are_not() -> None:
    """1 + 2^-9 has one digit more than bfloat16 holds."""
    odd, one = 1 + 2.0**-9, jnp.ones((1, 1))

    def output(x: list[float], first: list[float], bias: float) -> float:
        kernel = jnp.array(first)[:, None]
        hidden, last = {"kernel": kernel, "bias": jnp.zeros(1)}, {"kernel": one, "bias": bias * one[0]}
        with computing("mixed"):
            return float(apply(MLP((1,), 1), {"Dense_0": hidden, "Dense_1": last}, jnp.array([x]))[0, 0])

    assert output([odd], [1.0], bias=0.0) == 1.0  # hidden
    assert output([1.0], [1.0], bias=2.0**-9) == odd  # the output
    assert output([odd, 1.0], [1.0, -1.0], bias=0.0) == 2.0**-9  # the input


def positive(shape: tuple[int, ...], seed: int) -> Array:
    return jax.random.uniform(jax.random.key(seed), shape, minval=0.5, maxval=1.5)


@pytest.mark.medium
def test_gradients_are_within_the_bound_of_their_roundings() -> None:
    """Where all terms are positive the relative error of a sum is at most that of its terms.

    A loss that is linear in the output sends 1 back. Rounded are, on the way to the first weight: the second weight and
    the gradient that its product gives, which then passes unchanged; to the second weight: the pre-activation.
    """
    mlp, x = MLP((32,), 1), positive((8, 4), 0)
    shapes = jax.eval_shape(lambda: init_params(mlp, jax.random.key(0), 4))
    params = jax.tree.map(lambda leaf: positive(leaf.shape, leaf.size), shapes)
    params["Dense_0"]["bias"] *= 0

    def slopes(precision: str) -> Any:
        with computing(precision):
            return jax.jit(jax.grad(lambda params: apply(mlp, params, x).sum()))(params)

    exact, mixed = slopes("highest"), slopes("mixed")
    for name, roundings in (("Dense_0", 2), ("Dense_1", 1)):
        off = jnp.abs(mixed[name]["kernel"] / exact[name]["kernel"] - 1).max()
        assert 0 < off <= (1 + UNIT) ** roundings - 1 + 1e-5
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(mixed))


@pytest.mark.medium
def test_two_precisions_in_one_process_do_not_share_a_program() -> None:
    """Neither a jitted function, nor what is jitted or scanned within it, nor a derivative."""
    layers, x = init_layers(2, (3, 16, 16, 1), jax.random.key(0)), positive((2, 5, 3), 1)
    inner = jax.jit(apply_layers)

    def scanned(layers: tuple[Layer, ...], x: Array) -> Array:
        outputs = jax.lax.scan(lambda _, row: (None, inner(layers, row[:, None])), None, x.swapaxes(0, 1))[1]
        return jnp.sum(outputs)

    for function in (inner, jax.jit(scanned), jax.jit(jax.grad(scanned))):
        with computing("highest"):
            first = function(layers, x)
        with computing("mixed"):
            rounded = function(layers, x)
        with computing("highest"):
            again = function(layers, x)
        jax.tree.map(np.testing.assert_array_equal, first, again)
        assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (first, rounded)), strict=True))


@pytest.mark.parametrize(("precision", "kept"), [("highest", "float32"), ("mixed", "float16")])
def test_policy_and_model_of_a_rollout_store_what_does_for_values(precision: str, kept: str) -> None:
    seen = []

    def policy(obs: Array, key: Key) -> Array:
        seen.append(hidden_type().name)
        return obs

    def model(obs: Array, action: Array, key: Key) -> ModelStep:
        seen.append(hidden_type().name)
        return ModelStep(obs[:, 0], obs, jnp.ones(2), jnp.zeros(2))

    with computing(precision):
        rollout(model, policy, jnp.ones((2, 1)), 2, jax.random.key(0))
    assert set(seen) == {kept}
    assert len(seen) == 2  # one each, traced


@pytest.mark.medium
def test_weights_and_optimizers_stay_float32_through_an_update() -> None:
    agent = sac.make(Problem(3, 2, lambda obs: jnp.zeros(obs.shape[0])), sac.SACConfig(hidden=(16, 16)), 10)
    state = sac.init(agent, jax.random.key(0))
    rows = Transition(*(positive(shape, n) for n, shape in enumerate(((8, 3), (8, 2), (8,), (8,), (8, 3)))))
    rows = rows._replace(action=rows.action - 1)
    with computing("mixed"):
        updated, metrics = jax.jit(partial(sac.update, agent))(state, rows, jax.random.key(1))
    kinds = [leaf.dtype for leaf in jax.tree.leaves(updated)]
    assert kinds == [leaf.dtype for leaf in jax.tree.leaves(state)]
    assert {kind.name for kind in kinds} == {"float32", "int32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(metrics)} == {"float32"}


@pytest.mark.medium
def test_a_trained_policy_acts_in_float32_whatever_it_was_trained_in() -> None:
    """Bit for bit: in evaluations, and as a function to take away."""
    data = om.load("hopper-medium", "synthetic", size=200)
    bc = om.make("bc", data.task, steps=10, hidden=(16, 16), batch_size=16)
    program = compile_program(bc.algorithm, 10)
    state = program.init(jax.random.key(0)[None], bc.rows(data), {})
    lane, obs = jax.tree.map(lambda leaf: leaf[0], state), data.observations[None, :5]

    def actions(precision: str) -> list[Any]:
        with computing(precision):
            return [program.act(state, jnp.asarray(obs))[0], numpy_policy(bc.algorithm.act, lane, True, 0)(obs[0])]

    for exact, mixed in zip(actions("highest"), actions("mixed"), strict=True):
        np.testing.assert_array_equal(exact, mixed)
