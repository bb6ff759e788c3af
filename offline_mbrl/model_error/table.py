"""Records of model error as Markdown: how errors grow, calibration, and which penalty finds them."""

from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

Record = dict[str, Any]

Lines = tuple[list[str], list[list[str]]]
"""A table's head and its lines."""

MISSING = "–"


def report(studies: Sequence[Record]) -> str:
    """All tables of some records."""
    parts = (
        ("Error", horizon_table(studies)),
        ("Endings", termination_table(studies)),
        ("Calibration", calibration_table(studies)),
        ("Penalties", penalty_table(studies)),
    )
    return under_headings(parts)


def horizon_table(studies: Sequence[Record]) -> Lines:
    """Median open-loop error of the mean and of samples after the reported steps, in deviations of the data."""
    steps = list(studies[0]["actions"]["data"]["open_loop"]["mean"]["state"]["dimensions"])
    head = ["data", "seed", "actions", "prediction", *(f"h = {step}" for step in steps), "reward, h = 1"]
    return head, [_horizon_row(*line, steps) for line in _lines(studies)]


def termination_table(studies: Sequence[Record]) -> Lines:
    """Precision and recall of the endings that the mean path foresees, of rows that end within h steps."""
    steps = list(studies[0]["actions"]["data"]["open_loop"]["mean"]["termination"])
    head = ["data", "seed", "actions", *(f"h = {step}" for step in steps)]
    return head, [_termination_row(record, way, steps) for record, way in _ways(studies)]


def calibration_table(studies: Sequence[Record]) -> Lines:
    """Observed coverage of the mixture's central intervals, one step ahead."""
    levels = list(studies[0]["actions"]["data"]["calibration"]["intervals"])
    head = ["data", "seed", "actions", *(f"{float(level):.0%}" for level in levels), "calibration error"]
    return head, [_calibration_row(record, way) for record, way in _ways(studies)]


def penalty_table(studies: Sequence[Record]) -> Lines:
    """Spearman's rank correlation of every penalty with the true one-step error: a column for data and actions."""
    ways = list(_ways(studies))
    head = ["penalty", *(" ".join(_name(record, way)) for record, way in ways)]
    penalties = studies[0]["actions"]["data"]["penalties"]
    return head, [[name, *(_correlation(record, way, name) for record, way in ways)] for name in penalties]


def under_headings(parts: Iterable[tuple[str, Lines]]) -> str:
    """Tables in Markdown, each under its heading."""
    return "\n\n".join(f"## {title}\n\n{markdown(*lines)}" for title, lines in parts) + "\n"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A pipe table; what stands in it is text already."""
    return tabulate([list(line) for line in lines], list(head), tablefmt="pipe", disable_numparse=True)


def _ways(studies: Iterable[Record]) -> Iterable[tuple[Record, str]]:
    return ((record, way) for record in studies for way in record["actions"])


def _lines(studies: Iterable[Record]) -> Iterable[tuple[Record, str, str]]:
    return ((record, way, kind) for record, way in _ways(studies) for kind in ("mean", "samples"))


def _name(record: Record, way: str) -> tuple[str, str, str]:
    about = record["about"]
    return about["data"], f"seed {about['seed']}", way


def _horizon_row(record: Record, way: str, kind: str, steps: Sequence[str]) -> list[str]:
    path = record["actions"][way]["open_loop"][kind]
    errors = [_number(path["state"]["median"][int(step) - 1]) for step in steps]
    return [*_start(record, way), kind, *errors, _number(path["reward"]["rmse"][0])]


def _termination_row(record: Record, way: str, steps: Sequence[str]) -> list[str]:
    found = record["actions"][way]["open_loop"]["mean"]["termination"]
    return [*_start(record, way), *(_foreseen(found[step]) for step in steps)]


def _foreseen(counts: Record) -> str:
    """Precision / recall, and of how many endings."""
    if not counts["ended"] and not counts["foreseen"]:
        return MISSING
    return f"{_share(counts['precision'])} / {_share(counts['recall'])} ({counts['ended']})"


def _calibration_row(record: Record, way: str) -> list[str]:
    found = record["actions"][way]["calibration"]
    return [*_start(record, way), *map(_share, found["intervals"].values()), f"{found['error']:.3f}"]


def _start(record: Record, way: str) -> list[str]:
    return [record["about"]["data"], str(record["about"]["seed"]), way]


def _correlation(record: Record, way: str, penalty: str) -> str:
    found = record["actions"][way]["penalties"][penalty]["value"]
    return MISSING if found is None else f"{found:.2f}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{value:.0%}"
