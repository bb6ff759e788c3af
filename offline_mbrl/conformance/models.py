"""What is fitted before the loop, as it is before its first epoch: what `init` needs to start from, made at once."""

from typing import Any

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.algorithm import Definition, Pretrained
from offline_mbrl.config import Config
from offline_mbrl.conformance.data import DATA, PROBLEM, SEEDS
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import seed_keys
from offline_mbrl.pretraining.fit import untrained as before_training
from offline_mbrl.pretraining.store import fit_id

_results: dict[str, Any] = {}  # of all `SEEDS`, by the identity of the fit


def untrained(definition: Definition, config: Config, steps: int, seeds: tuple[int, ...]) -> Pretrained:
    """The third argument of `init` for some of `SEEDS`, each seed's its own; empty where nothing is fitted first."""
    rows = jnp.array([SEEDS.index(seed) for seed in seeds])
    fits = definition.pretraining(PROBLEM, config, steps)
    return {name: jax.tree.map(lambda leaf: leaf[rows], _result(name, fit)) for name, fit in fits.items()}


def _result(name: str, fit: Pretraining) -> Any:
    """Compiled once for all systems whose fits are the same, as those that are kept in the cache are."""
    identity = f"{name}-{fit_id(fit, 'conformance', '', '', '')}"
    if identity not in _results:
        _results[identity] = before_training(fit, DATA, seed_keys(fit, SEEDS))
    return _results[identity]
