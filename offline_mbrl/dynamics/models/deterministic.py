"""The deterministic ensemble: every member gives a mean alone, fitted by least squares.

What MOPO's own code calls a model without learned variances (Yu et al. 2020, arXiv 2005.13239), and the kind that
MOReL fits (Kidambi et al. 2020, arXiv 2005.05951). Only the members' disagreement says how unsure it is: use it with
`max_pair`, `max_center`, `epistemic_std`, `ens_var` or `ens_std`.
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


class DeterministicConfig(EnsembleConfig):
    """An ensemble of means; it has no settings of its own."""

    kind: Literal["deterministic"] = Field("deterministic", description="members with a mean alone")


class Weights(NamedTuple):
    """The layers of all members."""

    layers: tuple[Layer, ...]

    def predict(self, x: Array) -> Gaussian:
        """Means [N, B, d + 1] of standardized inputs [N, B, d + m], and deviations of 0."""
        mean = apply_layers(self.layers, x)
        return Gaussian(mean, jnp.zeros_like(mean))

    def members(self, index: Array) -> Self:
        """The members at `index` [k]."""
        return self.with_layers(jax.tree.map(lambda leaf: leaf[index], self.layers))

    def with_layers(self, layers: tuple[Layer, ...]) -> Self:
        """Other layers."""
        return self._replace(layers=layers)


def init_weights(config: DeterministicConfig, obs_dim: int, action_dim: int, key: Key) -> Weights:
    """Fresh layers."""
    return Weights(init_layers(config.members, (obs_dim + action_dim, *config.hidden, obs_dim + 1), key))


def loss(config: DeterministicConfig, weights: Weights, x: Array, y: Array) -> Array:
    """sum_i mean_{b,k} (f_i(x) - y)^2 + sum_l wd_l / 2 sum_i ||W_il||^2 for x [N, B, d + m], y [N, B, d + 1]."""
    error = jnp.square(apply_layers(weights.layers, x) - y).mean(axis=(1, 2)).sum()
    return error + weight_decay(config, weights.layers)


def make_pretraining(config: DeterministicConfig, obs_dim: int, action_dim: int) -> Pretraining:
    """The fit of this kind."""
    return pretraining(config, partial(init_weights, config, obs_dim, action_dim), partial(loss, config))


MODEL = ModelDefinition("deterministic", DeterministicConfig, make_pretraining)
