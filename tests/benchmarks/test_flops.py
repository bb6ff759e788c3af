"""FLOP counted from a program against products of layers multiplied out by hand."""

import jax
import jax.numpy as jnp
import pytest
from flops import count_flops
from measure import set_up
from relative import sac_algorithm

from offline_mbrl.tasks import get_task

X, W = jnp.ones((3, 5)), jnp.ones((5, 7))


def test_a_product_costs_two_operations_for_each_pair() -> None:
    assert count_flops(jnp.dot, X, W) == 2 * 3 * 5 * 7


def test_a_batch_counts_every_product() -> None:
    assert count_flops(jax.vmap(jnp.dot, in_axes=(0, None)), jnp.ones((4, 3, 5)), W) == 4 * 2 * 3 * 5 * 7


def test_gradients_of_both_factors_cost_a_product_each() -> None:
    gradients = jax.grad(lambda x, w: jnp.square(x @ w).sum(), argnums=(0, 1))
    assert count_flops(gradients, X, W) == 3 * 2 * 3 * 5 * 7


def test_loops_and_calls_are_entered() -> None:
    @jax.jit
    def scan(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (x @ jnp.ones((5, 5)), None), x, length=6)[0]

    assert count_flops(scan, X) == 6 * 2 * 3 * 5 * 5


def test_a_sac_step_on_the_hopper() -> None:
    setup = set_up(get_task("hopper-medium"), 1, 300)
    algorithm, key = sac_algorithm(setup.problem), jax.random.key(0)
    state = algorithm.init(key, setup.data, {})
    batch = algorithm.sample(state, setup.data, key)
    actor, critic = 11 * 256 + 256 * 256 + 256 * 6, 14 * 256 + 256 * 256 + 256
    target = actor + 2 * critic
    critics = 2 * (3 * critic - 14 * 256)  # forward, weights, inputs of all but the first layer
    policy = 3 * actor - 11 * 256 + 2 * 2 * critic  # through both critics to the action, no weights of theirs
    by_hand = 2 * 256 * (target + critics + policy)
    assert count_flops(algorithm.update, state, batch, key) == pytest.approx(by_hand, rel=0.01)
