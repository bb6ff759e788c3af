"""Actor and critic networks, and the optimizer state that travels with a network's weights."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp

from offline_mbrl.nn.inits import LayerInit, glorot
from offline_mbrl.nn.layers import product, stored
from offline_mbrl.types import Array, Key

Params = Any
"""A pytree of weights."""

Tree = TypeVar("Tree")

ACTION_MARGIN = 1e-5
"""Logged actions are pulled this far inside (-1, 1) before their likelihood is taken: atanh(1) is infinite."""


def dense_product(x: Array, weight: Array, *_: Any, **__: Any) -> Array:
    """`layers.product` as flax asks for it: rows [..., i] in one batch, which may be empty."""
    rows, (inputs, outputs) = x.shape[:-1], weight.shape
    return product(x.reshape(math.prod(rows), inputs), weight).reshape(*rows, outputs)


def hidden_product(x: Array, weight: Array, *_: Any, **__: Any) -> Array:
    """`dense_product` as a hidden layer keeps it."""
    return stored(dense_product(x, weight))


def _floating(*arrays: Array | None, **_: Any) -> list[Array | None]:
    """In place of flax's promotion to one type: `product` multiplies activations and weights of two, of no integers."""
    return [x if x is None or jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32) for x in arrays]


class MLP(nn.Module):
    """Fully connected layers with one activation between them, drawn by `layer_init`."""

    hidden: tuple[int, ...]
    outputs: int
    activation: Callable[[Array], Array] = nn.relu
    layer_init: LayerInit = glorot

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = stored(self.activation(self.dense(x.shape[-1], width)(x)))
        return self.dense(x.shape[-1], self.outputs, last=True)(x)

    def dense(self, inputs: int, outputs: int, last: bool = False) -> nn.Dense:
        weights, biases = self.layer_init(inputs, outputs, last)
        return nn.Dense(
            outputs,
            kernel_init=weights,
            bias_init=biases,
            dot_general=dense_product if last else hidden_product,
            promote_dtype=_floating,
        )


class GaussianActor(nn.Module):
    """Mean and log standard deviation, both state-dependent, of the pre-squash Gaussian."""

    hidden: tuple[int, ...]
    action_dim: int
    log_std_bounds: tuple[float, float] = (-5.0, 2.0)
    layer_init: LayerInit = glorot

    @nn.compact
    def __call__(self, obs: Array) -> tuple[Array, Array]:
        mean, log_std = jnp.split(MLP(self.hidden, 2 * self.action_dim, layer_init=self.layer_init)(obs), 2, axis=-1)
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
    layer_init: LayerInit = glorot

    @nn.compact
    def __call__(self, obs: Array, action: Array) -> Array:
        mlp = MLP(self.hidden, 1, layer_init=self.layer_init)
        return mlp(jnp.concatenate([obs, action], axis=-1)).squeeze(-1)


def critic_ensemble(count: int, hidden: tuple[int, ...], layer_init: LayerInit = glorot) -> nn.Module:
    """`count` independent critics as one module: (obs [..., d], action [..., m]) -> [count, ...]."""
    ensemble = nn.vmap(
        Critic, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, out_axes=0, axis_size=count
    )
    module: nn.Module = ensemble(hidden, layer_init)
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
