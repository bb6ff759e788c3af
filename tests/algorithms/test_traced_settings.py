"""The numbers among the settings may differ between the lanes of one program: nothing branches on what they are."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.config import Config
from offline_mbrl.types import Array, Metrics
from tests.algorithms import toys
from tests.overrides import Settings, configure

pytestmark = pytest.mark.medium

SMALL: Settings = {"hidden": (4,), "batch_size": 4, "warm_steps": 2}

OWN: dict[str, Settings] = {
    "armor": {"capacity": 20, "target_entropy": -1.0},
    "atac": {"target_entropy": -1.0},
    "bc": {},
    "cql": {"action_samples": 2, "temperature": 0.5, "target_entropy": -1.0, "weighting": "learned"},
    "drop": {"subsets": 2, "multiplier": 1.0},
    "edac": {"critics": 3, "temperature": 0.5},
    "iql": {},
    "td3_bc": {},
}
"""Systems with their own settings, among them numbers where the default is none."""

COUNTS = {"best_share", "warm_start"}
"""Numbers that say how many rows or steps there are."""


def numbers(config: Config) -> dict[str, float]:
    return {name: value for name, value in config if isinstance(value, float) and name not in COUNTS}


@pytest.mark.parametrize("name", list(OWN))
def test_every_number_may_be_traced(name: str) -> None:
    definition = get_definition(name)
    config, problem = configure(definition, SMALL, OWN[name]), toys.endless(2, 1)
    data = toys.data_of(toys.random_rows(12, 2, 1))._replace(is_first=jnp.arange(12) % 4 == 0)
    world = toys.linear_world(jnp.zeros((1, 3, 3))) if definition.ensemble(config) else None

    def step(values: dict[str, Any]) -> tuple[Array, Metrics]:
        algorithm = definition.build(problem, config.model_copy(update=values), 20)
        state = algorithm.init(toys.KEY, data, world)
        state, metrics = algorithm.update(state, algorithm.sample(state, data, toys.KEY), toys.KEY)
        return algorithm.act(state, data.transitions.obs[0], toys.KEY, True), metrics

    traced = numbers(config)
    assert traced
    action, metrics = jax.eval_shape(step, traced)
    assert action.shape == (1,)
    assert all(metric.shape == () for metric in metrics.values())
