"""The probabilistic ensemble: every member gives a mean and a variance, fitted by maximum likelihood.

Chua et al. 2018 (arXiv 1805.12114), Janner et al. 2019 (arXiv 1906.08253); constants of the MBPO and MOPO code.
"""

from functools import partial
from typing import Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
from pydantic import Field

from offline_mbrl.dynamics.config import EnsembleConfig, ModelDefinition
from offline_mbrl.dynamics.ensemble import Gaussian
from offline_mbrl.dynamics.fit import pretraining, weight_decay
from offline_mbrl.nn.layers import Layer, apply_layers, init_layers
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.types import Array, Key


class GaussianConfig(EnsembleConfig):
    """The likelihood's settings; the defaults are OfflineRL-Kit's (MOPO's own code: patience 6)."""

    kind: Literal["gaussian"] = Field("gaussian", description="members with a mean and a variance")
    logvar_init: tuple[float, float] = Field((-10.0, 0.5), description="initial bounds of the log-variance")
    logvar_penalty: float = Field(0.01, ge=0, description="weight of sum(max) - sum(min) of the bounds in the loss")
    logvar_trained: bool = Field(True, description="whether the bounds of the log-variance are trained")
    logvar_weight: float = Field(
        1.0, gt=0, description="weight of the log-variance in the likelihood; 1 is the likelihood"
    )


class Weights(NamedTuple):
    """Everything the likelihood trains; the bounds are shared by all members."""

    layers: tuple[Layer, ...]
    min_logvar: Array  # [d + 1]
    max_logvar: Array  # [d + 1]

    def predict(self, x: Array) -> Gaussian:
        """Mean and deviation [N, B, d + 1] of standardized inputs [N, B, d + m]."""
        mean, logvar = forward(self, x)
        return Gaussian(mean, jnp.exp(0.5 * logvar))

    def members(self, index: Array) -> Self:
        """The members at `index` [k]."""
        return self.with_layers(jax.tree.map(lambda leaf: leaf[index], self.layers))

    def with_layers(self, layers: tuple[Layer, ...]) -> Self:
        """Other layers under the same bounds."""
        return self._replace(layers=layers)


def init_weights(config: GaussianConfig, obs_dim: int, action_dim: int, key: Key) -> Weights:
    """Fresh layers, and bounds of the log-variance that every dimension starts with."""
    layers = init_layers(config.members, (obs_dim + action_dim, *config.hidden, 2 * (obs_dim + 1)), key)
    low, high = config.logvar_init
    return Weights(layers, jnp.full(obs_dim + 1, low, jnp.float32), jnp.full(obs_dim + 1, high, jnp.float32))


def bound_logvar(raw: Array, low: Array, high: Array) -> Array:
    """Softly clamps a log-variance: l1 = high - softplus(high - raw); low + softplus(l1 - low)."""
    upper = high - jax.nn.softplus(high - raw)
    return low + jax.nn.softplus(upper - low)


def forward(weights: Weights, x: Array) -> tuple[Array, Array]:
    """Mean and bounded log-variance [N, B, d + 1] of standardized inputs [N, B, d + m], one batch for each member."""
    mean, raw = jnp.split(apply_layers(weights.layers, x), 2, axis=-1)
    return mean, bound_logvar(raw, weights.min_logvar, weights.max_logvar)


def likelihood_loss(weights: Weights, x: Array, y: Array, logvar_weight: float = 1.0) -> Array:
    """sum_i mean_{b,k} [ (mu_i - y)^2 exp(-logvar_i) + c logvar_i ] for x [N, B, d + m], y [N, B, d + 1].

    Twice the negative log-likelihood at c = 1; its optimum is the variance e^2 / c of errors e.
    """
    mean, logvar = forward(weights, x)
    return (jnp.square(mean - y) * jnp.exp(-logvar) + logvar_weight * logvar).mean(axis=(1, 2)).sum()


def regularizer(config: GaussianConfig, weights: Weights) -> Array:
    """sum_l wd_l / 2 sum_i ||W_il||^2 + c (sum max_logvar - sum min_logvar); biases are free."""
    bounds = config.logvar_penalty * (weights.max_logvar.sum() - weights.min_logvar.sum())
    return weight_decay(config, weights.layers) + bounds


def loss(config: GaussianConfig, weights: Weights, x: Array, y: Array) -> Array:
    """The training loss: likelihood and regularizer, summed over members."""
    if not config.logvar_trained:
        low, high = jax.lax.stop_gradient((weights.min_logvar, weights.max_logvar))
        weights = weights._replace(min_logvar=low, max_logvar=high)
    return likelihood_loss(weights, x, y, config.logvar_weight) + regularizer(config, weights)


def make_pretraining(config: GaussianConfig, obs_dim: int, action_dim: int) -> Pretraining:
    """The fit of this kind."""
    return pretraining(config, partial(init_weights, config, obs_dim, action_dim), partial(loss, config))


MODEL = ModelDefinition("gaussian", GaussianConfig, make_pretraining)
