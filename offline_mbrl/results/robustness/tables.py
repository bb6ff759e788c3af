"""All systems side by side under each disturbance, a table for each task and family."""

from collections.abc import Iterable, Mapping, Sequence

from offline_mbrl.results.groups import column_labels, column_order, row_label
from offline_mbrl.results.layout import Table, emphasized
from offline_mbrl.results.numbers import Style, plain
from offline_mbrl.results.query import Column
from offline_mbrl.results.robustness.gather import RELEASED, Measured
from offline_mbrl.results.robustness.summary import Floats, at_named_epsilon, summaries
from offline_mbrl.results.statistics import mean_and_std
from offline_mbrl.robustness.attacks import ATTACKS, NEED_CRITICS
from offline_mbrl.robustness.protocol import ALONE, CLEAN, GRID
from offline_mbrl.robustness.sensors import SENSORS

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "physics": (GRID, RELEASED, *ALONE),
    "attacks": ATTACKS,
    "sensors": SENSORS,
}

SAYS = {
    "physics": "grid: mean over friction x gravity; the others: area under the score over the multiplier.",
    "attacks": "Area under the score over epsilon from 0 to the largest measured, and the score at one epsilon.",
    "sensors": "Score with noise, with sensors that drop to 0 or stick, and with observations or actions a step late.",
}

Cells = dict[str, str]
Line = tuple[str, Mapping[str, Floats]]


def robustness_tables(measured: Sequence[Measured], style: Style) -> list[Table]:
    """Those that have something to show, task by task."""
    columns = sorted({one.column for one in measured}, key=column_order)
    labels = column_labels(columns)
    tables = [
        _table(labels[column], family, [one for one in measured if one.column == column], style)
        for column in columns
        for family in FAMILIES
    ]
    return [table for table in tables if table is not None]


def columns_of(measured: Iterable[Measured]) -> list[Column]:
    """Each once, in the benchmark's order."""
    return sorted({one.column for one in measured}, key=column_order)


def _table(task: str, family: str, measured: Sequence[Measured], style: Style) -> Table | None:
    lines = [(row_label(one.row), _cells(one, family)) for one in measured]
    head = [name for name in _heads(family, lines) if any(name in cells for _, cells in lines)]
    if not set(head) - {CLEAN}:
        return None
    best = {name: max(cells[name].mean() for _, cells in lines if name in cells) for name in head}
    body = [[label, *(_text(cells.get(name), best[name], style) for name in head)] for label, cells in lines]
    return Table([task, *head], body, _caption(family, measured))


def _cells(one: Measured, family: str) -> dict[str, Floats]:
    """Scores [seeds] by the heading that they stand under."""
    known = summaries(one)
    cells = {kind: known[kind] for kind in (CLEAN, *FAMILIES[family]) if kind in known}
    for kind in FAMILIES[family] if family == "attacks" else ():
        there = at_named_epsilon(one, kind)
        if there is not None:
            cells[f"{kind} at {there[0]:.3g}"] = there[1]
    return cells


def _heads(family: str, lines: Sequence[Line]) -> list[str]:
    """The clean score, the summaries, then what else the lines have, in the family's order."""
    kinds = FAMILIES[family]
    others = {name for _, cells in lines for name in cells} - {CLEAN, *kinds}
    return [CLEAN, *kinds, *sorted(others, key=lambda name: (kinds.index(name.split()[0]), name))]


def _text(scores: Floats | None, best: float, style: Style) -> str:
    if scores is None:
        return "–"
    mean, std = mean_and_std(scores)
    text = plain(mean, style) + (f" ± {plain(std, style)}" if len(scores) > 1 else "")
    return emphasized(text) if mean == best else text


def _caption(family: str, measured: Sequence[Measured]) -> str:
    seeds = sorted({len(scores) for one in measured for scores in one.points.values()})
    episodes = sorted({count for one in measured for count in one.episodes})
    sentences = [
        "Normalized score, mean ± sample standard deviation over seeds.",
        f"clean: nothing is changed. {SAYS[family]}",
        f"{_or(seeds)} seed{'s' * (seeds != [1])}, {_or(episodes)} episodes of the deterministic policy at each point. "
        "Bold: the highest.",
    ]
    if family == "attacks":
        sentences.append(
            f"–: not measured; {' and '.join(sorted(NEED_CRITICS))} ask critics, which not all systems have."
        )
    return " ".join(sentences)


def _or(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))
