"""What is fitted before the loop, after one epoch of its fit: what `init` needs to start from, made quickly."""

from functools import cache
from typing import Any

from offline_mbrl.algorithms.algorithm import Definition, Pretrained
from offline_mbrl.config import Config
from offline_mbrl.conformance.data import DATA, PROBLEM
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import compile_fit, seed_keys


@cache
def barely_fitted(definition: Definition, config: Config, steps: int, seeds: tuple[int, ...]) -> Pretrained:
    """The third argument of `init` for `seeds`, each seed's its own; empty where nothing is fitted first."""
    fits = definition.pretraining(PROBLEM, config, steps)
    return {name: _one_epoch(fit, seeds) for name, fit in fits.items()}


def _one_epoch(pretraining: Pretraining, seeds: tuple[int, ...]) -> Any:
    programs, keys, data = compile_fit(pretraining), seed_keys(pretraining, seeds), pretraining.prepare(DATA)
    fixed, state = programs.start(keys, data)
    return programs.finish(fixed, programs.epoch(fixed, state, data, keys))
