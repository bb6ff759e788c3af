"""The pages of docs/algorithms: what they name exists, and every setting and preset of a system is on its page."""

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from offline_mbrl.algorithms.presets import preset_names
from offline_mbrl.algorithms.registry import definitions, get_definition

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "algorithms"
ROOMS = ("algorithms", "dynamics", "nn", "simulation")
NAMES = list(definitions())
FAMILIES = {"armor": ("adversarial",), "atac": ("adversarial",)}
"""Whose functions a page may name without their module, beside its own."""


@cache
def modules() -> dict[str, set[str]]:
    """Every module's functions, classes and constants, nested ones too."""
    files = [path for room in ROOMS for path in (ROOT / "offline_mbrl" / room).rglob("*.py")]
    return {path.stem: defined(path) for path in files}


def defined(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def test_every_system_has_a_page_and_every_page_a_system() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_function_that_a_page_names_with_its_module_exists(name: str) -> None:
    dotted = [token.split(".") for token in re.findall(r"(?<![\w/])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", page(name))]
    pairs = {pair for parts in dotted for pair in pairwise(parts) if pair[0] in modules()}
    named = {(module, function) for module, function in pairs if function not in {"py", "md", "toml"}}
    assert named or name == "drop"  # its table names functions alone
    assert not [f"{module}.{function}" for module, function in sorted(named) if function not in modules()[module]]


@pytest.mark.parametrize("name", NAMES)
def test_every_bare_name_in_a_table_of_functions_exists(name: str) -> None:
    """The last column of tables whose heading says "function"."""
    own = set().union(*(modules()[module] for module in (name, *FAMILIES.get(name, ()))))
    inside = False
    for line in page(name).splitlines():
        cells = line.split("|")
        inside = line.startswith("|") and (inside or "function" in cells[-2])
        for text in re.findall(r"`([A-Za-z_]\w*)`", cells[-2]) if inside else []:
            assert text in own, text


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_its_own_and_every_preset_is_on_the_page(name: str) -> None:
    config = get_definition(name).config
    inherited = {field for base in config.__bases__ for field in getattr(base, "model_fields", {})}
    shared = {"discount", "tau", "batch_size", "hidden", "critics", "actor_lr", "critic_lr", "learning_rate"}
    own = set(config.model_fields) - inherited - shared
    text = page(name)
    assert not [field for field in sorted(own) if field not in text]
    assert not [preset for preset in preset_names(name) if preset not in text]
