"""The numbers among the settings may differ between the lanes of one program: nothing branches on what they are."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from offline_mbrl.algorithms.registry import definitions, get_definition
from offline_mbrl.config import Config, number_fields
from offline_mbrl.conformance.small import COMMON, OWN, Settings, configure
from offline_mbrl.pretraining.fit import result_shape
from offline_mbrl.types import Array, Metrics
from tests.algorithms import toys

pytestmark = pytest.mark.medium

GIVEN: Settings = {
    "target_entropy": -1.0,
    "temperature": 0.5,
    "temperature_max": 2.0,
    "weighting": "learned",
    "multiplier": 1.0,
}
"""Numbers where the default is none, and what reads one of them."""

STRUCTURAL = {"warm_start", "best_share", "real_ratio", "threshold_quantile"}
"""Floats that say how many rows or steps there are, or choose a branch."""


def numbers(config: Config) -> dict[str, float]:
    free = number_fields(type(config))
    return {name: value for name, value in config if name in free and value is not None}


@pytest.mark.parametrize("name", list(definitions()))
def test_every_number_may_be_traced(name: str) -> None:
    definition = get_definition(name)
    config, problem = configure(definition, COMMON | GIVEN, OWN.get(name, {})), toys.endless(2, 1)
    data = toys.data_of(toys.random_rows(12, 2, 1))._replace(is_first=jnp.arange(12) % 4 == 0)
    fits = {key: result_shape(fit, data, 1) for key, fit in definition.pretraining(problem, config, 20).items()}

    def step(values: dict[str, Any], fits: Any) -> tuple[Array, Metrics]:
        algorithm = definition.build(problem, config.model_copy(update=values), 20)
        state = algorithm.init(toys.KEY, data, jax.tree.map(lambda leaf: leaf[0], fits))
        metrics: Metrics = {}
        if algorithm.refresh:
            state, metrics = algorithm.refresh(state, data, toys.KEY)
        state, updates = algorithm.update(state, algorithm.sample(state, data, toys.KEY), toys.KEY)
        return algorithm.act(state, data.transitions.obs[0], toys.KEY, True), metrics | updates

    traced = numbers(config)
    assert traced
    action, metrics = jax.eval_shape(step, traced, fits)
    assert action.shape == (1,)
    assert all(metric.shape == () for metric in metrics.values())


@pytest.mark.parametrize("name", list(definitions()))
def test_every_float_is_a_number_or_known_to_shape_something(name: str) -> None:
    config = get_definition(name).config()
    floats = {field for field, value in config if isinstance(value, float)}
    assert floats - number_fields(type(config)) <= STRUCTURAL
