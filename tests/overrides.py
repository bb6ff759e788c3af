"""Small settings for whatever algorithm there is: values by field name, used where a configuration has the field."""

from typing import Any

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.config import Config

Settings = dict[str, Any]


def where_they_exist(config: type[Config], wanted: Settings) -> Settings:
    """Those of the `wanted` values whose field `config` has; nested records by a dictionary under their name."""
    return {name: value for name, value in wanted.items() if name in config.model_fields}


def configure(definition: Definition, common: Settings, own: Settings) -> Config:
    """The algorithm's configuration with the `common` values it knows, and its `own`, all of which it must know."""
    return definition.config.model_validate(where_they_exist(definition.config, common) | own)
