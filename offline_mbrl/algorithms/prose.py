"""What only prose can say of a system: the text of `<name>.md` beside its module, with the file of each function.

The text begins with a paragraph or two and goes on with sections. Tables whose last column is headed `function` get
one more, with the file of every function there: `mopo.penalize`, or `penalize` alone for one of the system's own.
"""

import ast
import re
from functools import cache
from pathlib import Path

from offline_mbrl.algorithms.registry import file_beside, source_file
from offline_mbrl.errors import UserError

PACKAGE = Path(__file__).parents[1]

ROOMS = ("algorithms", "dynamics", "nn", "simulation", "training")
"""Whose functions a text may name by their module."""


def sections(name: str) -> dict[str, str]:
    """The parts of a system's prose by their heading, the first under ""; empty where there is no text."""
    file = file_beside(name, ".md")
    if file is None:
        return {}
    first, *rest = re.split(r"^## (.+)\n", with_files(file.read_text(encoding="utf-8"), name), flags=re.MULTILINE)
    return {heading: text.strip() for heading, text in zip(["", *rest[::2]], [first, *rest[1::2]], strict=True)}


def with_files(text: str, name: str) -> str:
    """`text` with a column of files in its tables of functions.

    Raises:
      UserError: a function that such a table names is nowhere.
    """
    lines, heading = [], ""
    for line in text.splitlines():
        cells = re.split(r"(?<!\\)\|", line)[1:-1] if line.startswith("|") else []
        heading = "" if not cells else heading or cells[-1].strip()
        if heading == "function":
            line += _file_cell(cells[-1].strip(), name)
        lines.append(line)
    return "\n".join(lines) + "\n"


def _file_cell(functions: str, name: str) -> str:
    """The further cell of a line whose last one is `functions`: of the heading, of the rule below it, of a row."""
    if functions == "function":
        return " file |"
    if set(functions) <= {"-", ":"}:
        return "---|"
    files = [place(function, name) for function in re.findall(r"`([\w.]+)`", functions)]
    return f" {', '.join(dict.fromkeys(f'`{file}`' for file in files))} |"


def place(function: str, name: str) -> str:
    """The file of a function that the text of the system `name` names, from the package's folder on."""
    module, _, own = function.rpartition(".")
    file = _modules(name).get(module.rpartition(".")[2] or name)
    if file is None or own not in defined(file):
        raise UserError(f"the text beside the system '{name}' names a function {function}, which is nowhere")
    return file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else file.name


def _modules(name: str) -> dict[str, Path]:
    """The files whose functions the text of a system may name, by their module's last name; its own is `name`."""
    own = source_file(name)
    return modules() | ({name: own, own.stem: own} if own else {})


@cache
def modules() -> dict[str, Path]:
    """The files of this package's rooms by their module's last name."""
    return {path.stem: path for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))}


@cache
def defined(file: Path) -> set[str]:
    """Every function, class and constant of a file, nested ones too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names
