"""The base of every hyper-parameter record: frozen, typed, ranged, and closed to unknown names."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """Named settings, each with a range and a description; hashable, so it can be a static argument of `jit`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def describe_first(error: ValidationError, what: str) -> str:
    """The first fault of a record in one line: its name, the value given, what was expected."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return f"{what} setting {name}={first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"
