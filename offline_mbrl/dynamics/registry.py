"""Finds the kinds of world models: every module of `dynamics/models`."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from offline_mbrl.dynamics import models
from offline_mbrl.dynamics.config import EnsembleConfig, ModelDefinition
from offline_mbrl.errors import UserError, unknown_name
from offline_mbrl.pretraining.contract import Pretraining


@cache
def kinds() -> dict[str, ModelDefinition]:
    """Every kind of world model by name; a module without a sound `MODEL` is an error that names it."""
    by_name = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(models.__path__)):
        definition = getattr(importlib.import_module(f"{models.__name__}.{module}"), "MODEL", None)
        if not isinstance(definition, ModelDefinition) or definition.kind != module:
            raise UserError(f"dynamics/models/{module}.py defines no MODEL of kind '{module}'")
        by_name[module] = definition
    return by_name


def get_kind(name: str) -> ModelDefinition:
    """The kind called `name`; `UserError` with a suggestion otherwise."""
    if name not in kinds():
        raise unknown_name("kind of dynamics model", name, kinds())
    return kinds()[name]


def pretraining_of(config: EnsembleConfig, obs_dim: int, action_dim: int) -> Pretraining:
    """How the ensemble that `config` describes is fitted."""
    return get_kind(config.kind).pretraining(config, obs_dim, action_dim)


def as_kind(values: object, default: EnsembleConfig) -> object:
    """`values` as the configuration of the kind that they name; as `default`'s type where it is the same kind."""
    if not isinstance(values, Mapping):
        return values
    kind = values.get("kind", default.kind)
    return (type(default) if kind == default.kind else get_kind(kind).config).model_validate(values)


def defaults(kind: str, base: EnsembleConfig) -> dict[str, Any]:
    """The settings of `kind`, with what it shares with `base` taken from there."""
    config = get_kind(kind).config.model_validate({})
    shared = set(EnsembleConfig.model_fields) - {"kind"}
    return config.model_dump() | base.model_dump(include=shared)
