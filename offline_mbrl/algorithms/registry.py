"""Finds the algorithms: every module of this folder that defines `DEFINITION`."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.errors import unknown_name


@cache
def definitions() -> dict[str, Definition]:
    """Every algorithm by name, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "systems")]))
    modules = (importlib.import_module(f"offline_mbrl.algorithms.systems.{name}") for name in names)
    found = (getattr(module, "DEFINITION", None) for module in modules)
    return {definition.name: definition for definition in found if definition is not None}


def get_definition(name: str) -> Definition:
    """The algorithm called `name`; `UserError` with a suggestion otherwise."""
    if name not in definitions():
        raise unknown_name("algorithm", name, definitions())
    return definitions()[name]
