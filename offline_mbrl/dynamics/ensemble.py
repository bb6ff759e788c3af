"""The contract of a world model: an ensemble whose members each predict y = (r, s' - s), reward first, in raw units.

What kind of network a member is, the type of the weights says: it predicts and it picks members. Each kind is one file
of `dynamics/models`; everything here works for all of them.
"""

import math
from typing import NamedTuple, Protocol, Self

import chex
import jax
import jax.numpy as jnp
from flax import struct

from offline_mbrl.keys import stream
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array, Key


class Gaussian(NamedTuple):
    """Gaussians of y = (r, s' - s), one for each member; a kind without noise has std 0."""

    mean: Array  # [members, ..., d + 1]
    std: Array  # [members, ..., d + 1]


class MemberWeights(Protocol):
    """The weights of N members of one kind: a pytree whose layers have a leading axis [N]."""

    @property
    def layers(self) -> tuple[Layer, ...]: ...

    def predict(self, x: Array) -> Gaussian:
        """What every member expects, [N, B, d + 1], of standardized inputs [N, B, d + m], one batch for each."""

    def members(self, index: Array) -> Self:
        """The members at `index` [k] as weights of k."""

    def with_layers(self, layers: tuple[Layer, ...]) -> Self:
        """The same with other layers; what all members share stays."""


class Ensemble(struct.PyTreeNode):
    """A fitted world: weights, input scaler, and the members it may be sampled from."""

    weights: MemberWeights
    inputs: Normalizer
    elites: Array  # [E] int32

    @property
    def count(self) -> int:
        """N, how many members there are."""
        return self.weights.layers[0].bias.shape[0]


def only_elites(ensemble: Ensemble) -> Ensemble:
    """The ensemble reduced to the members that it may be sampled from."""
    order = jnp.arange(ensemble.elites.shape[0], dtype=jnp.int32)
    return ensemble.replace(weights=ensemble.weights.members(ensemble.elites), elites=order)


def predict(ensemble: Ensemble, obs: Array, action: Array) -> Gaussian:
    """What every member expects of observations [B, d] and actions [B, m]."""
    chex.assert_equal_shape_prefix([obs, action], 1)
    x = ensemble.inputs.apply(jnp.concatenate([obs, action], axis=-1))
    return ensemble.weights.predict(jnp.broadcast_to(x, (ensemble.count, *x.shape)))


def sample_members(ensemble: Ensemble, key: Key, rows: int) -> Array:
    """One elite for each row, uniform and independent: [rows] member indices (MBPO's TS1)."""
    return ensemble.elites[jax.random.randint(key, (rows,), 0, ensemble.elites.shape[0])]


def pick(gaussian: Gaussian, member: Array) -> Gaussian:
    """The Gaussian [B, d + 1] of member[b] in row b."""
    rows = jnp.arange(member.shape[0])
    return Gaussian(gaussian.mean[member, rows], gaussian.std[member, rows])


def draw(gaussian: Gaussian, key: Key) -> Array:
    """y ~ N(mean, diag std^2), noise on every dimension, the reward's too."""
    return gaussian.mean + gaussian.std * jax.random.normal(key, gaussian.mean.shape)


def predict_random_elite(ensemble: Ensemble, obs: Array, action: Array, key: Key) -> Gaussian:
    """The Gaussian [B, d + 1] of one random elite for each row, evaluating only that elite.

    The rows are shuffled and dealt to the E elites in equal shares: every row's elite is uniform, as it is with
    `sample_members`, at the price of one batched product of E x B/E rows in place of N x B. The elites are shuffled
    too: where E does not divide B, those dealt last get fewer rows.
    """
    rows, elites = obs.shape[0], ensemble.elites.shape[0]
    dealers = jax.random.permutation(stream(key, "dealers"), ensemble.elites)
    order = jax.random.permutation(key, rows)
    dealt = jnp.resize(order, (elites, math.ceil(rows / elites)))  # wraps round when the elites do not divide the rows
    x = ensemble.inputs.apply(jnp.concatenate([obs, action], axis=-1))
    gaussian = ensemble.weights.members(dealers).predict(x[dealt])
    back = jnp.zeros(rows, jnp.int32).at[order].set(jnp.arange(rows, dtype=jnp.int32))
    return Gaussian(*(part.reshape(-1, part.shape[-1])[back] for part in gaussian))
