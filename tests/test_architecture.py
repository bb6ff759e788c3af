"""The house plan: which room may import from which, read from the source by its syntax tree.

Every import counts: at the top of a file, inside a function, and under `TYPE_CHECKING`.
"""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]

GROUND = ("types", "config", "errors", "failures", "keys", "tasks", "progress", "machine", "precision", "stopping")
"""Modules at the top of the package that stand below every room."""

ORDER = (
    "ground",
    "storage",
    "nn",
    "simulation",
    "data",
    "pretraining",
    "dynamics",
    "algorithms",
    "training",
    "model_error",
    "selection",
    "robustness",
    "behavior",
    "results",
    "launch",
    "api",
    "cli",
    "conformance",
)
"""The rooms from the lowest to the highest: a file imports from its own room and from those before it."""

INNER = (
    ("data.d4rl", "data.builtin"),
    ("algorithms.parts", "algorithms.systems"),
)
"""Rooms within a room, (lower, upper): the lower one does not import from the upper one."""

FRONT_DOOR = "api"
"""The room of `offline_mbrl/__init__.py`, which hands on the names of the Python API."""

LONGEST_FILE = 400
LONGEST_MEDIAN = 8
SHORT, SHARE_SHORT = 20, 0.85

Edges = set[tuple[str, str]]
"""(importer, imported), as dotted names below the package; "" is the package's own __init__."""


def modules(root: Path) -> dict[str, Path]:
    """The files of the package at `root` by dotted name: "data.d4rl.files"; a room's __init__ has the room's name."""
    return {dotted(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}


def dotted(path: Path) -> str:
    return ".".join(path.parent.parts if path.stem == "__init__" else path.with_suffix("").parts)


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names below `package` that the imports of `tree` name, which may be modules or what is in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute, so that a reader sees the room"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}."))
        yield from ("" for name in names if name == package)


def module_of(name: str, known: dict[str, Path]) -> str:
    """The longest beginning of a dotted name that is a module."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


@cache
def import_graph(root: Path) -> Edges:
    """Who imports whom in the package at `root`."""
    known = modules(root)
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in known.items()}
    named = ((name, module_of(target, known)) for name, tree in trees.items() for target in imported(tree, root.name))
    return {(importer, target) for importer, target in named if importer != target}


def room(module: str) -> str:
    """The room of a module; what is new at the top of the package is a room of its own."""
    top = module.partition(".")[0]
    return "ground" if top in GROUND else top or FRONT_DOOR


def lies_in(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def allowed(importer: str, target: str) -> bool:
    """Whether the house plan has this arrow; it has none from or to a room that it does not know."""
    inner = any(lies_in(importer, lower) and lies_in(target, upper) for lower, upper in INNER)
    floor = {name: number for number, name in enumerate(ORDER)}
    return not inner and floor.get(room(target), len(ORDER)) <= floor.get(room(importer), -1)


def violations(root: Path) -> list[str]:
    """One line for each import against the plan, with both files."""
    known = {name: path.relative_to(root.parent) for name, path in modules(root).items()}
    against = sorted(edge for edge in import_graph(root) if not allowed(*edge))
    return [f"{known[importer]} imports {known[target]}" for importer, target in against]


def functions(root: Path) -> list[int]:
    """The lines of every function of the package, from `def` to its last statement."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in modules(root).values())
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes]


PACKAGE = ROOT / "offline_mbrl"


def test_every_module_lies_in_a_room_of_the_plan() -> None:
    assert {room(module) for module in modules(PACKAGE)} <= set(ORDER)


def test_imports_go_down_only() -> None:
    assert violations(PACKAGE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for importer, target in import_graph(PACKAGE):
        graph.setdefault(importer, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' <- '.join(error.args[1])}")


def test_files_and_functions_stay_short() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(PACKAGE).items()}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}
    sizes = functions(PACKAGE)
    assert median(sizes) <= LONGEST_MEDIAN
    assert sum(size < SHORT for size in sizes) / len(sizes) >= SHARE_SHORT


@pytest.mark.parametrize(
    "text",
    [
        "from offline_mbrl.cli.app import main",
        "import offline_mbrl.cli.app",
        "def load():\n    from offline_mbrl.cli import app",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from offline_mbrl.cli.app import main",
    ],
)
def test_an_import_upwards_is_named_with_both_files(text: str, tmp_path: Path) -> None:
    for folder in ("data", "cli"):
        (tmp_path / "offline_mbrl" / folder).mkdir(parents=True)
    (tmp_path / "offline_mbrl" / "cli" / "app.py").write_text("from offline_mbrl.data.dataset import Dataset\n")
    (tmp_path / "offline_mbrl" / "data" / "dataset.py").write_text(text + "\n")
    assert violations(tmp_path / "offline_mbrl") == ["offline_mbrl/data/dataset.py imports offline_mbrl/cli/app.py"]


def test_inner_rooms_have_a_direction_too() -> None:
    assert allowed("algorithms.systems.mopo", "algorithms.parts.sac")
    assert not allowed("algorithms.parts.sac", "algorithms.systems.mopo")
    assert not allowed("data.d4rl.files", "data.builtin.recipe")
