"""Per-task hyper-parameters, each value with its source, read from `algorithms/systems/<algorithm>.toml`.

A file holds tables of `name = { value = ..., source = "..." }`: `[default]` for every task, `[task.<name>]` for one,
and the same two under `[preset.<preset>]` for a named alternative, which is laid over the others. An entry without a
value takes back what a table below has set. `steps` is the published number of gradient steps. The table `[source]`
says where the values come from that no table sets, by setting or nested record, under `all` for the rest. TOML has no
word for nothing: `"none"` stands for it where a setting may have no value, as in `temperature_max = "none"`.
"""

import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.algorithms.registry import module_of, preset_path
from offline_mbrl.config import Config, describe_first
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.registry import defaults
from offline_mbrl.errors import UserError, unknown_name

NONE = "none"


class Setting(NamedTuple):
    """One value and where it comes from."""

    value: Any
    source: str


class Resolved(NamedTuple):
    """What a run is configured with."""

    config: Config
    steps: int
    sources: dict[str, str]  # of every value that is not the algorithm's own default


def settings(algorithm: str, task: str, preset: str | None = None) -> dict[str, Setting]:
    """The preset values of `algorithm` on `task`: defaults, then the task's, then those of the named preset."""
    tables = _read(algorithm)
    layers = [tables]
    if preset is not None:
        if preset not in tables.get("preset", {}):
            raise unknown_name(f"{algorithm} preset", preset, tables.get("preset", {}))
        layers.append(tables["preset"][preset])
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer.get("default", {}) | layer.get("task", {}).get(task, {})
    return {name: Setting(entry["value"], entry["source"]) for name, entry in merged.items() if "value" in entry}


def default_source(algorithm: str, setting: str) -> str:
    """Where the algorithm's own default of `setting` comes from; that of its record, or of all, where none is named."""
    known = {"all": module_of(algorithm).partition(".")[0]} | _read(algorithm).get("source", {})
    source: str = known.get(setting) or known.get(setting.partition(".")[0]) or known["all"]
    return source


def preset_names(algorithm: str) -> list[str]:
    """The named alternatives of `algorithm`."""
    return sorted(_read(algorithm).get("preset", {}))


def resolve(
    definition: Definition, task: str, preset: str | None = None, overrides: dict[str, Any] | None = None
) -> Resolved:
    """The configuration of a run: the algorithm's defaults, its presets for the task, then `overrides`.

    Overrides name a field, or a field of a nested record as `outer.inner`; text is read as the field's type.

    Raises:
      UserError: an unknown name (the nearest is suggested), a value of the wrong type or out of range.
    """
    chosen = flattened(overrides or {})
    # Laid over the whole default: a nested record's own default may differ from its type's.
    values, kind_changed = _base(definition.config(), chosen)
    presets = {
        name: setting
        for name, setting in settings(definition.name, task, preset).items()
        if not kind_changed or name.partition(".")[2] in (*values["dynamics"], "")
    }
    for name, value in ({name: setting.value for name, setting in presets.items()} | chosen).items():
        _assign(values, name, None if value == NONE and _may_be_absent(definition.config, name) else value)
    sources = {name: setting.source for name, setting in presets.items()} | dict.fromkeys(chosen, "set by the user")
    steps = int(values.pop("steps", 1_000_000))
    return Resolved(validate(definition, values), steps, sources)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name, so that a table of a few leaves the others as they are."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping) and value
        flat |= flattened(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def _base(config: Config, chosen: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The defaults, with those of another kind of world model where one is chosen; and whether one is."""
    values: dict[str, Any] = config.model_dump()
    dynamics, kind = getattr(config, "dynamics", None), chosen.get("dynamics.kind")
    if not isinstance(dynamics, EnsembleConfig) or kind in (None, dynamics.kind):
        return values, False
    return values | {"dynamics": defaults(str(kind), dynamics)}, True


def applicable(definition: Definition, values: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings `values` that the algorithm has, judged by a nested setting's outer name."""
    fields = definition.config.model_fields
    return {name: value for name, value in values.items() if name.partition(".")[0] in fields}


def validate(definition: Definition, values: dict[str, Any]) -> Config:
    """`values` as the algorithm's configuration; one clear line when they are not."""
    try:
        return definition.config.model_validate(values, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_name(f"{definition.name} setting", name, _field_names(definition.config)) from None
        raise UserError(describe_first(error, definition.name)) from None


def _assign(values: dict[str, Any], name: str, value: object) -> None:
    """values["a"]["b"] = value for the name "a.b"; an empty table leaves a nested record as it is."""
    *outer, last = name.split(".")
    for part in outer:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    if value != {} or not isinstance(values.get(last), dict):
        values[last] = value


def _may_be_absent(config: type[Config], name: str) -> bool:
    """Whether a setting, not one of a nested record, may have no value."""
    field = config.model_fields.get(name)
    return field is not None and type(None) in get_args(field.annotation)


def _field_names(config: type[Config]) -> list[str]:
    """Every settable name, those of nested records as `outer.inner`."""
    names: list[str] = []
    for name, field in config.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, Config):
            names += [f"{name}.{inner}" for inner in _field_names(nested)]
        else:
            names.append(name)
    return names


def _read(algorithm: str) -> dict[str, Any]:
    file = preset_path(algorithm)
    return tomllib.loads(file.read_text()) if file else {}
