"""Finds the systems by name, in any letter case and with `-` or `_`: `td3_bc`, `TD3-BC`, `TD3+BC`.

A system is known in one of three ways:

- it is a module of `systems/` here, `<name>.py` with its preset file `<name>.toml` beside it;
- another package names it in its entry points of the group `offline_mbrl.algorithms`, as `name = "module:DEFINITION"`;
- `register(definition)` was called in this process, for a notebook. Jobs in processes of their own, as those of a
  sweep, do not see it: they need an entry point.

Only what is asked for is imported: a system takes jax and its networks with it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import warnings
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from offline_mbrl.algorithms import systems
from offline_mbrl.errors import UserError, unknown_name

if TYPE_CHECKING:
    from offline_mbrl.algorithms.algorithm import Definition

GROUP = "offline_mbrl.algorithms"
"""Of the entry points by which other packages add systems."""

_registered: dict[str, Definition] = {}  # by `register`, in this process
_said: set[str] = set()  # the warnings that were given


def canonical(name: str) -> str:
    """The name as the registry writes it: lower case, words joined by `_`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def own_names() -> list[str]:
    """The systems of this package, in alphabetical order; nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(systems.__path__))


def names() -> list[str]:
    """Every name that `get_definition` knows, in alphabetical order; nothing is imported."""
    return sorted({*own_names(), *_claims(), *_registered})


def definitions() -> dict[str, Definition]:
    """Every system by name, in alphabetical order; one of another package that cannot be loaded is a warning, once.

    Raises:
      UserError: a system of this package is not sound; the line names its file.
    """
    by_name: dict[str, Definition] = {}
    for name in names():
        try:
            by_name[name] = get_definition(name)
        except UserError as error:
            if name in own_names():
                raise
            _warn(str(error))
    for name, points in _claims().items():
        if name in own_names():
            _warn(f"the system '{name}' of {_packages(points)} is left out; this package has one of that name")
    return by_name


def get_definition(name: str) -> Definition:
    """The system called `name`; imports that one alone.

    Raises:
      UserError: nobody has that name (the nearest is suggested), or its module, presets or entry point are not sound.
    """
    known = canonical(name)
    if known in _registered:
        return _registered[known]
    if known in own_names():
        return _own(known)
    if known in (claims := _claims()):
        return _claimed(known, claims[known])
    raise unknown_name("algorithm", name, names())


def register(definition: Definition) -> Definition:
    """Makes a system known by its name in this process, and returns it.

    Raises:
      UserError: it is no `Definition`, its name is not in the registry's form, or another system has that name.
    """
    name = getattr(definition, "name", "")
    _check(definition, canonical(name), "register(definition)")
    if name not in names():
        _registered[name] = definition
    elif get_definition(name) is not definition:
        raise UserError(f"a system named '{name}' is known already; choose another name, or unregister('{name}') first")
    return definition


def unregister(name: str) -> None:
    """Forgets a system that `register` made known; one that it did not is left alone."""
    _registered.pop(canonical(name), None)


def preset_path(name: str) -> Path | None:
    """The preset file of a system, `<name>.toml` beside its module; None where it has none."""
    return file_beside(name, ".toml")


def file_beside(name: str, suffix: str) -> Path | None:
    """The file `<name><suffix>` in the folder of the system's module; None where there is none."""
    source = source_file(name)
    file = source.with_name(f"{canonical(name)}{suffix}") if source else None
    return file if file and file.is_file() else None


def source_file(name: str) -> Path | None:
    """The file of the system's module; None for one that was written in a notebook, or is not in the registry."""
    file = getattr(sys.modules.get(module_of(name)), "__file__", None)
    return Path(file) if file else None


def module_of(name: str) -> str:
    """The module of a system, where its entry point leads or its `build` is; `""` for one not in the registry."""
    known = canonical(name)
    if known in own_names():
        _own(known)
        return f"{systems.__name__}.{known}"
    if known in _registered:
        return str(_registered[known].build.__module__)
    points = _claims().get(known, [])
    return points[0].module if points and _claimed(known, points) else ""


def _own(name: str) -> Definition:
    """A system of this package: `DEFINITION` of its module, with the preset file beside it."""
    module = importlib.import_module(f"{systems.__name__}.{name}")
    file, definition = Path(str(module.__file__)), getattr(module, "DEFINITION", None)
    if definition is None:
        raise UserError(f"{file} has no DEFINITION; each module of that folder must define the system of its name")
    if not (preset := file.with_suffix(".toml")).is_file():
        raise UserError(f"{file} has no preset file; write {preset}, with its table [source]")
    return _check(definition, name, f"DEFINITION of {file}")


def _claims() -> dict[str, list[EntryPoint]]:
    """The entry points of other packages, by the name that they give; two packages may give the same."""
    claims: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        claims.setdefault(canonical(point.name), []).append(point)
    return claims


def _claimed(name: str, points: list[EntryPoint]) -> Definition:
    """A system of another package; one line that names the package where it cannot be had."""
    if len(points) > 1:
        raise UserError(f"more than one package adds a system '{name}': {_packages(points)}; remove all but one")
    (point,) = points
    where = f"the system '{name}' of {_packages(points)} ({point.value})"
    try:
        definition = point.load()
    except Exception as error:  # whatever another package's module raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{where} cannot be loaded: {reason}") from error
    return _check(definition, name, where)


def _packages(points: list[EntryPoint]) -> str:
    return ", ".join(f"package '{point.dist.name}'" if point.dist else point.value for point in points)


def _check(definition: object, name: str, where: str) -> Definition:
    """`definition`, which must be one and have that name."""
    from offline_mbrl.algorithms.algorithm import Definition  # jax comes with it

    if not isinstance(definition, Definition):
        raise UserError(f"{where} is of type {type(definition).__name__}; it must be a Definition")
    if definition.name != name:
        raise UserError(f"{where} has the name '{definition.name}'; it must be '{name}'")
    return definition


def _warn(line: str) -> None:
    """Says it once in a process; Python's own memory of that ends whenever somebody touches the filters."""
    if line not in _said:
        warnings.warn_explicit(line, UserWarning, GROUP, 1)
        _said.add(line)
