"""Dynamics models that nobody fitted: what `init` needs to start from, made at once."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.config import Config
from offline_mbrl.conformance.data import DATA, PROBLEM
from offline_mbrl.dynamics import fit
from offline_mbrl.dynamics.ensemble import Ensemble, EnsembleConfig, init_weights
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Key


def untrained(definition: Definition, config: Config, keys: Key) -> Ensemble | None:
    """The third argument of `init` for keys [seeds], each seed's its own; None where nothing is fitted first."""
    settings = definition.ensemble(config)
    return None if settings is None else _init_ensembles(settings)(keys)


@cache
def _init_ensembles(settings: EnsembleConfig) -> Any:
    """Compiled once for all systems with equal `settings`."""

    def init(key: Key) -> Ensemble:
        weights = init_weights(settings, PROBLEM.obs_dim, PROBLEM.action_dim, key)
        scaler = Normalizer.fit(fit.inputs(DATA.transitions))
        return Ensemble(weights, scaler, jnp.arange(settings.elites, dtype=jnp.int32))

    return jax.jit(jax.vmap(init))
