"""Actor and critic networks, and the optimizer state that travels with a network's weights."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp

from offline_mbrl.nn.layers import product, stored
from offline_mbrl.types import Array, Key

Params = Any
"""A pytree of weights."""

Tree = TypeVar("Tree")

ACTION_MARGIN = 1e-5
"""Logged actions are pulled this far inside (-1, 1) before their likelihood is taken: atanh(1) is infinite."""


def orthogonal(scale: float, iterations: int = 60) -> nn.initializers.Initializer:
    """Weights with orthonormal rows or columns times `scale`, drawn uniformly: the polar factor of a Gaussian matrix.

    Newton-Schulz iteration, x <- 3/2 x - 1/2 x x^T x, takes every singular value to 1. JAX's own initializer factorizes
    by LAPACK; a batch of those, one for each seed, can wait forever on a CPU for the thread pool that it runs in.
    """

    def draw(key: Key, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        rows, columns = shape
        x = jax.random.normal(key, (min(shape), max(shape)), dtype)
        product = partial(jnp.matmul, precision="highest")

        def step(_: int, x: Array) -> Array:
            return 1.5 * x - 0.5 * product(product(x, x.T), x)

        x = jax.lax.fori_loop(0, iterations, step, x / jnp.linalg.norm(x))
        return scale * (x.T if rows > columns else x)

    return draw


Init = Literal["glorot", "torch"]
"""How layers are drawn: Glorot-uniform weights and zero biases, or PyTorch's default."""


def uniform_by(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in +-1 / sqrt(fan_in): the default of `torch.nn.Linear`, for its weights and biases alike."""

    def draw(key: Key, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        bound = fan_in**-0.5
        return jax.random.uniform(key, tuple(shape), dtype, -bound, bound)

    return draw


def dense_product(x: Array, weight: Array, *_: Any, **__: Any) -> Array:
    """`layers.product` as flax asks for it: rows [..., i] in one batch, which may be empty."""
    rows, (inputs, outputs) = x.shape[:-1], weight.shape
    return product(x.reshape(math.prod(rows), inputs), weight).reshape(*rows, outputs)


def hidden_product(x: Array, weight: Array, *_: Any, **__: Any) -> Array:
    """`dense_product` as a hidden layer keeps it."""
    return stored(dense_product(x, weight))


def _as_they_are(*arrays: Array | None, **_: Any) -> list[Array | None]:
    """In place of flax's promotion to one type: `product` multiplies activations and weights of two."""
    return list(arrays)


class MLP(nn.Module):
    """Fully connected layers with one activation between them; Glorot-uniform weights by default, zero biases."""

    hidden: tuple[int, ...]
    outputs: int
    activation: Callable[[Array], Array] = nn.relu
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    draws: Init = "glorot"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = stored(self.activation(self.dense(width, x.shape[-1], hidden_product)(x)))
        return self.dense(self.outputs, x.shape[-1], dense_product)(x)

    def dense(self, width: int, inputs: int, multiply: Callable[..., Array]) -> nn.Dense:
        layer = partial(nn.Dense, width, dot_general=multiply, promote_dtype=_as_they_are)
        if self.draws == "glorot":
            return layer(kernel_init=self.kernel_init)
        draw = uniform_by(inputs)
        return layer(kernel_init=draw, bias_init=draw)


class GaussianActor(nn.Module):
    """Mean and log standard deviation, both state-dependent, of the pre-squash Gaussian."""

    hidden: tuple[int, ...]
    action_dim: int
    log_std_bounds: tuple[float, float] = (-5.0, 2.0)
    draws: Init = "glorot"

    @nn.compact
    def __call__(self, obs: Array) -> tuple[Array, Array]:
        mean, log_std = jnp.split(MLP(self.hidden, 2 * self.action_dim, draws=self.draws)(obs), 2, axis=-1)
        return mean, jnp.clip(log_std, *self.log_std_bounds)


class DeterministicActor(nn.Module):
    """a = tanh(MLP(s))."""

    hidden: tuple[int, ...]
    action_dim: int

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        return jnp.tanh(MLP(self.hidden, self.action_dim)(obs))


class Critic(nn.Module):
    """Q(s, a), one number for each row."""

    hidden: tuple[int, ...]
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    draws: Init = "glorot"

    @nn.compact
    def __call__(self, obs: Array, action: Array) -> Array:
        mlp = MLP(self.hidden, 1, kernel_init=self.kernel_init, draws=self.draws)
        return mlp(jnp.concatenate([obs, action], axis=-1)).squeeze(-1)


def critic_ensemble(
    count: int,
    hidden: tuple[int, ...],
    kernel_init: nn.initializers.Initializer = Critic.kernel_init,
    draws: Init = "glorot",
) -> nn.Module:
    """`count` independent critics as one module: (obs [..., d], action [..., m]) -> [count, ...]."""
    ensemble = nn.vmap(
        Critic, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, out_axes=0, axis_size=count
    )
    module: nn.Module = ensemble(hidden, kernel_init, draws)
    return module


def one_of(ensemble: nn.Module) -> Critic:
    """The module of a single critic of a `critic_ensemble`."""
    return Critic(ensemble.hidden)


CRITIC_CHUNK = 50
"""Most critics evaluated at once: the activations of hundreds do not fit beside each other."""


def map_critics(one: Callable[[Params], Tree], critics: Params, chunk: int = CRITIC_CHUNK) -> Tree:
    """`one` of every critic of a `critic_ensemble`, stacked on a leading axis.

    More than `chunk` critics are taken in turn and their activations are made again on the way back, so that memory
    grows with the number of critics by their weights alone.
    """
    if jax.tree.leaves(critics)[0].shape[0] <= chunk:
        return jax.vmap(one)(critics)
    mapped: Tree = jax.lax.map(jax.checkpoint(one), critics, batch_size=chunk)
    return mapped


def tanh_gaussian(mean: Array, log_std: Array) -> distrax.Transformed:
    """The law of a = tanh(u), u ~ N(mean, diag exp(2 log_std)); use `sample_and_log_prob`, never log_prob(sample)."""
    base = distrax.MultivariateNormalDiag(mean, jnp.exp(log_std))
    return distrax.Transformed(base, distrax.Block(distrax.Tanh(), 1))


def action_log_prob(mean: Array, log_std: Array, action: Array) -> Array:
    """log pi(a|s) of logged actions [..., m], pulled `ACTION_MARGIN` inside the open box first."""
    inside = jnp.clip(action, -1.0 + ACTION_MARGIN, 1.0 - ACTION_MARGIN)
    log_prob: Array = tanh_gaussian(mean, log_std).log_prob(inside)
    return log_prob


def init_params(module: nn.Module, key: Key, *input_dims: int) -> Params:
    """Fresh weights of a module that takes one array for each of `input_dims` (its last axis)."""
    return module.init(key, *(jnp.zeros((1, dim)) for dim in input_dims))["params"]


def apply(module: nn.Module, params: Params, *inputs: Array) -> Any:
    """The module's output on `inputs` with the weights `params`."""
    return module.apply({"params": params}, *inputs)
