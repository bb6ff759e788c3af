"""Two runs of a benchmark beside each other: the ratio of every quantity that both measured."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

from measure import Line
from tabulate import tabulate

from offline_mbrl.errors import UserError

Report = Mapping[str, Any]
"""What a benchmark writes: `about`, what it was measured on, and `lines`, the measurements."""

LEGEND = "ratio: new / old; of rates (per_s) more is better, of seconds, bytes and kernels less"


def read_report(path: Path) -> Report:
    """What a benchmark wrote with --out.

    Raises:
      UserError: there is no such file, or it is something else.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {path}; name a file that --out wrote") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not JSON that can be read ({error}); name a file that --out wrote") from None
    if not isinstance(report, dict) or not {"about", "lines"} <= report.keys():
        raise UserError(f"{path} holds no measurements; name a file that --out wrote")
    return report


def write_report(path: Path, report: Report) -> None:
    """Writes what was measured as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def keep(path: Path | None, about: Mapping[str, Any], lines: Iterable[Line]) -> Iterator[Line]:
    """The lines as they come, each shown beside the tables and in the file at once: what is known survives a kill."""
    known: list[Line] = []
    for line in lines:
        known.append(line)
        print(", ".join(f"{name} {shown(value)}" for name, value in line.items()), file=sys.stderr, flush=True)
        if path:
            write_report(path, {"about": about, "lines": known})
        yield line


def shown(value: object) -> str:
    """Four digits of a measured number, nothing for None, other things as they are."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str("" if value is None else value)


def compare(old: Report, new: Report) -> Iterator[Line]:
    """For every quantity that both have: where it was measured, both values, and new / old."""
    before = {identity(line): line for line in old["lines"]}
    for line in new["lines"]:
        known = before.get(identity(line), {})
        for quantity in measured(line):
            if isfinite(line[quantity]) and isfinite(known.get(quantity, nan)) and known[quantity]:
                values = {"old": known[quantity], "new": line[quantity], "ratio": line[quantity] / known[quantity]}
                yield {"of": describe(line), "quantity": quantity, **values}


def differences(old: Report, new: Report) -> list[str]:
    """What the two were measured on, where it differs: such ratios compare more than the code."""
    names = dict.fromkeys([*old["about"], *new["about"]])
    pairs = [(name, old["about"].get(name), new["about"].get(name)) for name in names]
    return [f"{name}: {before} -> {after}" for name, before, after in pairs if before != after]


def show(old: Report, new: Report) -> str:
    """The comparison as a table, below it what else is not the same."""
    lines = list(compare(old, new))
    if not lines:
        raise UserError("the two have no measurement in common; run both with the same options")
    table = tabulate(lines, headers="keys", floatfmt=("", "", ".4g", ".4g", ".3f"))
    notes = [f"differs: {difference}" for difference in differences(old, new)]
    return "\n".join([table, "", LEGEND, *notes])


def subject(line: Line) -> dict[str, str | int]:
    """What a line was measured of: all that is not a float."""
    return {name: value for name, value in line.items() if isinstance(value, str | int)}


def identity(line: Line) -> frozenset[tuple[str, str | int]]:
    """The same, to look a line up by."""
    return frozenset(subject(line).items())


def measured(line: Line) -> list[str]:
    """The quantities of a line."""
    return [name for name, value in line.items() if isinstance(value, float)]


def describe(line: Line) -> str:
    """What a line was measured of, in words."""
    parts = subject(line).items()
    return ", ".join(value if isinstance(value, str) else f"{value} {name}" for name, value in parts)
