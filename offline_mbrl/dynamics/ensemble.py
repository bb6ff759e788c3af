"""The probabilistic ensemble: one Gaussian network of the next step, transformed into many.

A member maps a standardized (s, a) to the mean and log-variance of y = (r, s' - s), reward first, in raw units
(Chua et al. 2018, arXiv 1805.12114; Janner et al. 2019, arXiv 1906.08253; constants of the MBPO and MOPO code).
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from pydantic import Field, model_validator

from offline_mbrl.config import Config
from offline_mbrl.keys import stream
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array, Key


class EnsembleConfig(Config):
    """Shape, loss and stopping rule of the ensemble; the defaults are OfflineRL-Kit's (MOPO's own code: patience 6)."""

    members: int = Field(7, ge=1, description="networks trained, N")
    elites: int = Field(5, ge=1, description="members kept for sampling, those with the lowest holdout error")
    hidden: tuple[int, ...] = Field((200, 200, 200, 200), description="widths of a member's hidden layers")
    learning_rate: float = Field(1e-3, gt=0, description="Adam rate, one optimizer for all members")
    batch_size: int = Field(256, ge=1, description="rows of one step, per member")
    weight_decay: tuple[float, ...] = Field(
        (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4), description="coupled L2 of each layer's weights, output layer last"
    )
    logvar_init: tuple[float, float] = Field((-10.0, 0.5), description="initial bounds of the log-variance")
    logvar_penalty: float = Field(0.01, ge=0, description="weight of sum(max) - sum(min) of the bounds in the loss")
    logvar_trained: bool = Field(True, description="whether the bounds of the log-variance are trained")
    logvar_weight: float = Field(
        1.0, gt=0, description="weight of the log-variance in the likelihood; 1 is the likelihood"
    )
    holdout_ratio: float = Field(0.2, gt=0, lt=1, description="share of rows held out")
    holdout_max: int = Field(1000, ge=1, description="most rows held out")
    improvement: float = Field(0.01, ge=0, description="relative fall of a member's holdout error that counts")
    patience: int = Field(5, ge=1, description="epochs without any member improving after which the fit stops")
    max_epochs: int | None = Field(None, ge=1, description="cap on the epochs; none when absent")
    standardize: bool = Field(False, description="fit on z-scored observations: the model then lives in that space")

    @model_validator(mode="after")
    def _sizes_fit(self) -> "EnsembleConfig":
        if self.elites > self.members:
            raise ValueError(f"{self.elites} elites of {self.members} members; ask for fewer elites")
        if len(self.weight_decay) != len(self.hidden) + 1:
            raise ValueError(
                f"weight_decay has {len(self.weight_decay)} values for {len(self.hidden)} hidden layers; give one for "
                "each layer, the output's last"
            )
        return self


class Layer(NamedTuple):
    """One linear layer of every member."""

    weight: Array  # [members, inputs, outputs]
    bias: Array  # [members, outputs]


class Weights(NamedTuple):
    """Everything the likelihood trains; the bounds are shared by all members."""

    layers: tuple[Layer, ...]
    min_logvar: Array  # [d + 1]
    max_logvar: Array  # [d + 1]


class Ensemble(struct.PyTreeNode):
    """A fitted world: weights, input scaler, and the members it may be sampled from."""

    weights: Weights
    inputs: Normalizer
    elites: Array  # [E] int32


class Gaussian(NamedTuple):
    """Gaussians of y = (r, s' - s), one for each member."""

    mean: Array  # [members, ..., d + 1]
    std: Array  # [members, ..., d + 1]


def init_layers(members: int, sizes: tuple[int, ...], key: Key) -> tuple[Layer, ...]:
    """Truncated-normal weights, std 1 / (2 sqrt(fan_in)) cut at two of them, and zero biases."""
    keys = jax.random.split(stream(key, "weights"), len(sizes) - 1)
    draw = jax.nn.initializers.truncated_normal(1.0)
    return tuple(
        Layer(draw(k, (members, rows, columns)) / (2 * rows**0.5), jnp.zeros((members, columns)))
        for k, (rows, columns) in zip(keys, pairwise(sizes), strict=True)
    )


def init_weights(config: EnsembleConfig, obs_dim: int, action_dim: int, key: Key) -> Weights:
    """Fresh layers, and bounds of the log-variance that every dimension starts with."""
    layers = init_layers(config.members, (obs_dim + action_dim, *config.hidden, 2 * (obs_dim + 1)), key)
    low, high = config.logvar_init
    return Weights(layers, jnp.full(obs_dim + 1, low, jnp.float32), jnp.full(obs_dim + 1, high, jnp.float32))


def bound_logvar(raw: Array, low: Array, high: Array) -> Array:
    """Softly clamps a log-variance: l1 = high - softplus(high - raw); low + softplus(l1 - low)."""
    upper = high - jax.nn.softplus(high - raw)
    return low + jax.nn.softplus(upper - low)


def apply_layers(layers: tuple[Layer, ...], x: Array) -> Array:
    """Raw outputs [N, B, o] of inputs [N, B, i], one batch for each member."""
    for layer in layers[:-1]:
        x = jax.nn.silu(jnp.einsum("nbi,nio->nbo", x, layer.weight) + layer.bias[:, None])
    return jnp.einsum("nbi,nio->nbo", x, layers[-1].weight) + layers[-1].bias[:, None]


def forward(weights: Weights, x: Array) -> tuple[Array, Array]:
    """Mean and bounded log-variance [N, B, d + 1] of standardized inputs [N, B, d + m], one batch for each member."""
    mean, raw = jnp.split(apply_layers(weights.layers, x), 2, axis=-1)
    return mean, bound_logvar(raw, weights.min_logvar, weights.max_logvar)


def members(weights: Weights, index: Array) -> Weights:
    """The members at `index` [k] as an ensemble of k."""
    return weights._replace(layers=jax.tree.map(lambda leaf: leaf[index], weights.layers))


def only_elites(ensemble: Ensemble) -> Ensemble:
    """The ensemble reduced to the members that it may be sampled from."""
    kept = jnp.arange(ensemble.elites.shape[0], dtype=jnp.int32)
    return ensemble.replace(weights=members(ensemble.weights, ensemble.elites), elites=kept)


def predict(ensemble: Ensemble, obs: Array, action: Array) -> Gaussian:
    """What every member expects of observations [B, d] and actions [B, m]."""
    x = ensemble.inputs.apply(jnp.concatenate([obs, action], axis=-1))
    count = ensemble.weights.layers[0].bias.shape[0]
    mean, logvar = forward(ensemble.weights, jnp.broadcast_to(x, (count, *x.shape)))
    return Gaussian(mean, jnp.exp(0.5 * logvar))


def sample_members(ensemble: Ensemble, key: Key, rows: int) -> Array:
    """One elite for each row, uniform and independent: [rows] member indices (MBPO's TS1)."""
    return ensemble.elites[jax.random.randint(key, (rows,), 0, ensemble.elites.shape[0])]


def pick(prediction: Gaussian, member: Array) -> Gaussian:
    """The Gaussian [B, d + 1] of member[b] in row b."""
    rows = jnp.arange(member.shape[0])
    return Gaussian(prediction.mean[member, rows], prediction.std[member, rows])


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
    dealt = jnp.resize(order, (elites, -(-rows // elites)))  # wraps round when the elites do not divide the rows
    x = ensemble.inputs.apply(jnp.concatenate([obs, action], axis=-1))
    mean, logvar = forward(members(ensemble.weights, dealers), x[dealt])
    back = jnp.zeros(rows, jnp.int32).at[order].set(jnp.arange(rows, dtype=jnp.int32))
    mean, logvar = (part.reshape(-1, part.shape[-1])[back] for part in (mean, logvar))
    return Gaussian(mean, jnp.exp(0.5 * logvar))
