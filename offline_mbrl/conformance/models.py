"""What is fitted before the loop, after one epoch of its fit: what `init` needs to start from, made quickly."""

from typing import Any

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.algorithm import Definition, Pretrained
from offline_mbrl.config import Config
from offline_mbrl.conformance.data import DATA, PROBLEM, SEEDS
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import compile_fit, seed_keys
from offline_mbrl.pretraining.store import fit_id

_results: dict[str, Any] = {}  # of all `SEEDS`, by the identity of the fit


def barely_fitted(definition: Definition, config: Config, steps: int, seeds: tuple[int, ...]) -> Pretrained:
    """The third argument of `init` for some of `SEEDS`, each seed's its own; empty where nothing is fitted first."""
    rows = jnp.array([SEEDS.index(seed) for seed in seeds])
    fits = definition.pretraining(PROBLEM, config, steps)
    return {name: jax.tree.map(lambda leaf: leaf[rows], _result(name, fit)) for name, fit in fits.items()}


def _result(name: str, pretraining: Pretraining) -> Any:
    """Made once for all systems whose fits are the same, as those are that the cache keeps under one name."""
    identity = f"{name}-{fit_id(pretraining, 'conformance', '', '', '')}"
    if identity not in _results:
        _results[identity] = _one_epoch(pretraining)
    return _results[identity]


def _one_epoch(pretraining: Pretraining) -> Any:
    programs, keys, data = compile_fit(pretraining), seed_keys(pretraining, SEEDS), pretraining.prepare(DATA)
    fixed, state = programs.start(keys, data)
    return programs.finish(fixed, programs.epoch(fixed, state, data, keys))
