"""Ours beside what was published: for each cell *within*, *above* or *below*, or why it is no comparison."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from offline_mbrl.algorithms.presets import preset_names, settings
from offline_mbrl.data.builtin.recipe import full_size
from offline_mbrl.errors import UserError
from offline_mbrl.results.groups import Group
from offline_mbrl.results.intervals import t_interval
from offline_mbrl.results.layout import Table
from offline_mbrl.results.numbers import Style, plain, signed
from offline_mbrl.results.published import Record
from offline_mbrl.results.query import Curve
from offline_mbrl.results.statistics import RULES, Estimate, Rule, mean_and_std
from offline_mbrl.tasks import DEFAULT_PHYSICS, get_task

FULL = "full"
OWN = {"medium-replay": "own replay data", "medium-expert": "own expert data"}
"""Builtin sets that D4RL's policies did not make; medium data are by D4RL's own, random ones by uniform actions."""
SAME_DATA = ("builtin", "policy", "d4rl", "d4rl-v2")

HEAD = ["row", "task", "scale", "ours", "published", "difference", "verdict"]

Cell = tuple[str, str, str]
"""Row, task and scale."""


class Verdict(NamedTuple):
    """One cell of ours beside one published number."""

    cell: Cell
    ours: Estimate | None  # mean over seeds and its 95 % t-interval; None where no seed is done
    spread: float  # sample standard deviation over seeds; NaN for fewer than two
    seeds: int
    published: Record | None
    word: str

    @property
    def difference(self) -> Estimate | None:
        """Ours minus theirs, their mean counting as exact."""
        if self.ours is None or self.published is None:
            return None
        theirs = float(self.published["mean"])
        low, high = (None if bound is None else bound - theirs for bound in self.ours[1:])
        return Estimate(self.ours.value - theirs, low, high)


def judge(ours: Estimate, mean: float, spread: float | None) -> str:
    """Where our mean lies: within mean ± spread, above or below it; "(unclear)" where our interval reaches theirs.

    Without a published spread our interval is what must hold the published mean; with neither there is no verdict.
    """
    reach = spread or 0.0
    low, high = (ours.value if bound is None else bound for bound in ours[1:])
    if spread is None:
        if ours.low is None:
            return "not comparable: one seed and no published spread"
        if low <= mean <= high:
            return "within"
    if abs(ours.value - mean) <= reach:
        return "within"
    side = "above" if ours.value > mean else "below"
    meets = low <= mean + reach and high >= mean - reach
    return f"{side} (unclear)" if meets and ours.low is not None else side


def obstacles(curve: Curve, version: str) -> list[str]:
    """Why a score is no comparison with one published on D4RL's data of some version; nothing where it is one."""
    return [*_data_obstacles(curve, version), *_training_obstacles(curve)]


def _data_obstacles(curve: Curve, version: str) -> list[str]:
    column, level = curve.column, get_task(curve.column.task).level
    found = []
    if version not in ("v2", column.source.removeprefix("d4rl-")):
        found.append("v0 numbers" if version == "v0" else f"numbers on data of version {version}")
    if column.source not in SAME_DATA and column.source != f"d4rl-{version}":
        found.append(f"{column.source} data")
    if column.source == "builtin" and level in OWN:
        found.append(OWN[level])
    full, rows = full_size(get_task(column.task)), curve.dataset.rows
    if column.source == "builtin" and rows is not None and rows < full:
        found.append(f"{rows:,} of {full:,} rows")
    if column.physics != DEFAULT_PHYSICS:
        found.append(f"{column.physics} physics")
    return found


def _training_obstacles(curve: Curve) -> list[str]:
    scale = curve.row.get("scale")
    if scale:
        return [] if scale == FULL else [f"scale {scale}"]
    steps, published = int(str(curve.settings["steps"])), published_steps(curve.algorithm, curve.column.task)
    return [f"{steps:,} of {published:,} steps"] if published and steps < published else []


def published_steps(algorithm: str, task: str) -> int | None:
    """The fewest gradient steps that a preset of the algorithm takes from a source; None for one without presets."""
    try:
        presets = [settings(algorithm, task, name) for name in (None, *preset_names(algorithm))]
    except UserError:  # a system that is not installed here
        return None
    return min((int(preset["steps"].value) for preset in presets if "steps" in preset), default=None)


def row_of(curve: Curve) -> str:
    """What the suite calls it, or its algorithm; and its way of acting where it has several."""
    name, acting = str(curve.row.get("variant") or curve.algorithm), curve.settings.get("variant")
    return f"{name}, {acting}" if acting else name


def verdicts(groups: Iterable[Group], records: Sequence[Record]) -> list[Verdict]:
    """A verdict for every cell and every number that was published for it; one without a number where none was."""
    found = []
    for group in groups:
        curve = group.curves[0]
        cell = (row_of(curve), curve.column.task, str(curve.row.get("scale") or ""))
        ours, scores = (t_interval(group.final_scores) if group.counted else None), group.final_scores
        about = (cell, ours, mean_and_std(scores)[1] if len(scores) > 1 else math.nan, len(scores))
        theirs: list[Record | None] = [one for one in records if (one["algorithm"], one["task"]) == cell[:2]]
        found += [Verdict(*about, one, _word(curve, ours, one)) for one in theirs or [None]]
    return found


def _word(curve: Curve, ours: Estimate | None, record: Record | None) -> str:
    if record is None:
        return "nothing published"
    if ours is None:
        return "not finished"
    reasons = obstacles(curve, record["version"])
    if reasons:
        return f"not comparable: {', '.join(reasons)}"
    return judge(ours, float(record["mean"]), float(record["std"]) if record["std"] else None)


def lay_out_verdicts(found: Sequence[Verdict], style: Style, rule: Rule = "last-ten") -> Table:
    """A line for each verdict, and in the caption where the published numbers come from."""
    sources = dict.fromkeys(_source(one.published) for one in found if one.published)
    protocol = RULES[rule]
    caption = (
        "Ours: mean ± sample standard deviation over seeds (and their number), a seed's score being the "
        f"{protocol.words} of its last {protocol.last} evaluations (of all where there are fewer). Difference: ours "
        "minus theirs with the 95 % t-interval of ours. Verdict: where our mean lies to the published mean ± spread, "
        "(unclear) where our interval "
        "reaches it; without a published spread, where their mean lies to our interval. "
        f"Published: {'; '.join(sources) or 'nothing'}."
    )
    return Table(HEAD, [_line(one, style) for one in found], caption)


def _line(one: Verdict, style: Style) -> list[str]:
    return [
        *one.cell,
        _ours(one, style),
        _theirs(one.published),
        "" if one.difference is None else signed(one.difference, style),
        one.word,
    ]


def _ours(one: Verdict, style: Style) -> str:
    """As `8.2 ± 1.2 (2)`: mean, standard deviation and number of seeds."""
    if one.ours is None:
        return ""
    spread = "" if math.isnan(one.spread) else f" ± {plain(one.spread, style)}"
    return f"{plain(one.ours.value, style)}{spread} ({one.seeds})"


def _theirs(record: Record | None) -> str:
    if record is None:
        return ""
    short = record["source"].partition(" (")[0].partition(",")[0]
    return f"{record['mean']}{' ± ' * bool(record['std'])}{record['std']} ({short})"


def _source(record: Record) -> str:
    return f"{record['source']} (D4RL {record['version']}; {record['protocol']})"
