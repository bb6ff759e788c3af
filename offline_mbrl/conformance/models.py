"""What is fitted before the loop, as it is before its first epoch: what `init` needs to start from, made at once."""

from functools import cache

from offline_mbrl.algorithms.algorithm import Definition, Pretrained
from offline_mbrl.config import Config
from offline_mbrl.conformance.data import DATA, PROBLEM
from offline_mbrl.pretraining.fit import seed_keys
from offline_mbrl.pretraining.fit import untrained as before_training


@cache
def untrained(definition: Definition, config: Config, steps: int, seeds: tuple[int, ...]) -> Pretrained:
    """The third argument of `init` for `seeds`, each seed's its own; empty where nothing is fitted first."""
    fits = definition.pretraining(PROBLEM, config, steps)
    return {name: before_training(fit, DATA, seed_keys(fit, seeds)) for name, fit in fits.items()}
