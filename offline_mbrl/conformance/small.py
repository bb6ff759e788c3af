"""Small settings for whatever system there is: values by field name, used where a configuration has the field."""

from typing import Any

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.algorithms.presets import validate
from offline_mbrl.config import Config

Settings = dict[str, Any]

COMMON: Settings = {
    "hidden": (8, 8),
    "batch_size": 20,
    "rollout_batch": 12,
    "rollout_every": 4,
    "horizon": 2,
    "retain": 2,
    "real_ratio": 0.5,
    "dynamics": {"members": 3, "elites": 2, "hidden": (8,), "weight_decay": (0.0, 0.0)},
}
"""What makes most systems small."""

OWN: dict[str, Settings] = {
    "armor": {"capacity": 100, "warm_steps": 4},
    "atac": {"warm_steps": 4},
    "combo": {"action_samples": 2},
    "cql": {"action_samples": 2},
    "crop": {
        "critic_hidden": (8, 8),
        "reward": {"members": 2, "elites": 2, "hidden": (8,), "max_epochs": 2},
    },
    "drop": {"subsets": 4, "ascent_steps": 2, "search_steps": 2},
    "edac": {"critics": 3},
    "micro": {"next_samples": 2},
    "mobile": {"next_samples": 2},
    "rambo": {"adversary_steps": 2, "pretrain_epochs": 1},
}
"""What makes those small that have sizes of their own."""


def where_they_exist(config: type[Config], wanted: Settings) -> Settings:
    """Those of the `wanted` values whose field `config` has; nested records by a dictionary under their name."""
    return {name: value for name, value in wanted.items() if name in config.model_fields}


def configure(definition: Definition, common: Settings, own: Settings) -> Config:
    """The algorithm's configuration with the `common` values it knows, and its `own`, all of which it must know."""
    return validate(definition, where_they_exist(definition.config, common) | own)
