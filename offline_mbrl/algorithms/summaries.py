"""The list of the systems; ours are read from the text of their modules, since to import them takes a second."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from offline_mbrl.algorithms import registry, systems


class Summary(NamedTuple):
    """What a list says of a system."""

    name: str
    kind: str  # model-based or model-free
    title: str
    paper: str
    equation: str


def summaries() -> list[Summary]:
    """Every registered system, in alphabetical order; one that cannot be loaded is a warning."""
    own = {name: _read(name) for name in registry.own_names()}
    if set(registry.names()) == set(own) and all(own.values()):
        return [summary for summary in own.values() if summary]
    return [summarize(name) for name in registry.definitions()]


def summarize(name: str) -> Summary:
    """The same of one system, from its definition."""
    definition = registry.get_definition(name)
    kind = _kind(definition.uses_model(definition.config()))
    return Summary(definition.name, kind, definition.title, definition.paper, definition.equation)


def _read(name: str) -> Summary | None:
    """From the text of the module; None where its DEFINITION is not written as one call with plain texts."""
    spec = find_spec(f"{systems.__name__}.{name}")
    source = Path(str(spec and spec.origin)).read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="DEFINITION")], value=ast.Call(args=[], keywords=given)):
                texts = {entry.arg: entry.value.value for entry in given if isinstance(entry.value, ast.Constant)}
                if texts.keys() >= {"title", "paper", "equation"}:
                    fits = any(entry.arg == "pretraining" for entry in given)  # of a model, or only of a policy
                    kind = _kind(fits and re.search(r"\bdynamics\b", source) is not None)
                    return Summary(name, kind, str(texts["title"]), str(texts["paper"]), str(texts["equation"]))
    return None


def _kind(has_model: bool) -> str:
    return "model-based" if has_model else "model-free"
