"""The base of every hyper-parameter record: frozen, typed, ranged, and closed to unknown names."""

from collections.abc import Mapping
from functools import partial
from operator import eq
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

AnyConfig = TypeVar("AnyConfig", bound="Config")


class Config(BaseModel):
    """Named settings, each with a range and a description; hashable, so it can be a static argument of `jit`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Traceable:
    """Marks a setting that enters the arithmetic alone."""


Number = Annotated[float, Traceable()]
"""A setting that shapes no array and chooses no branch: it may differ between the lanes of one compiled program."""

Width = Annotated[int, Field(ge=1)]
"""Units of one hidden layer."""

Widths = Annotated[tuple[Width, ...], Field(description="widths of the actor's and critics' hidden layers")]
"""The networks of an actor-critic; a system whose networks differ describes its own."""


def added(default: Any, description: str) -> Any:
    """A setting that came later: records leave it out at its default, so that runs made before keep their identity."""
    return Field(default, description=description, exclude_if=partial(eq, default))


def number_fields(config: type[Config]) -> frozenset[str]:
    """The names of the settings of `config` that are `Number`; those of nested records are not: they shape fits."""
    return frozenset(name for name, field in config.model_fields.items() if _is_number(field))


def with_numbers(config: AnyConfig, numbers: Mapping[str, Any]) -> AnyConfig:
    """`config` with other values of some `Number` settings, unchecked: they may be JAX tracers."""
    unknown = set(numbers) - number_fields(type(config))
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} cannot differ between the lanes of one program")
    return config.model_copy(update=dict(numbers))


def describe_first(error: ValidationError, what: str) -> str:
    """The first fault of a record in one line: its name, the value given, what was expected."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return f"{what} setting {name}={first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def _is_number(field: FieldInfo) -> bool:
    """Whether the annotation is `Number`, or `Number | None`."""
    marks = [*field.metadata, *(mark for part in get_args(field.annotation) for mark in get_args(part))]
    return any(isinstance(mark, Traceable) for mark in marks)
