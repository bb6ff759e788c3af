"""The robustness records of runs, gathered by system and task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.errors import UserError
from offline_mbrl.results.groups import Group, Row, group_curves
from offline_mbrl.results.query import Column, Curve, read_curves
from offline_mbrl.robustness.protocol import GRID, Point
from offline_mbrl.robustness.study import ROBUSTNESS
from offline_mbrl.storage.records import JOB, Record, read_json, read_records

RELEASED = "grid as released"
"""The kind of a grid that multiplies only what the robot's file spells out."""

AXES = ("friction", "gravity", "mass", "damping", "actuator", "epsilon")

Floats = NDArray[np.float64]
Seen = tuple[Record, Curve]


@dataclass(frozen=True)
class Measured:
    """What a system's seeds scored on a task at every point that was measured."""

    row: Row
    column: Column
    points: Mapping[Point, Floats]  # [seeds] normalized scores, in the order of the seeds
    episodes: frozenset[int]  # of each point and seed

    def of(self, kind: str) -> dict[Point, Floats]:
        """The points of one kind, in order along its axes."""
        own = {point: scores for point, scores in self.points.items() if point.kind == kind}
        return dict(sorted(own.items(), key=lambda item: item[0].values))


def gather_robustness(folders: Sequence[Path]) -> list[Measured]:
    """What the jobs in `folders` recorded, without the seeds that diverged; runs without such records are passed over.

    Raises:
        UserError: none of them has a record.
    """
    own = [folder for folder in folders if (folder / ROBUSTNESS).exists()]
    found = {id(curve): (folder, curve) for folder in own for curve in _acting_curves(folder)}
    groups = group_curves([curve for _, curve in found.values()], pool=True)
    measured = [_measured(group, [found[id(curve)] for curve in group.curves]) for group in groups]
    measured = [one for one in measured if one.points]
    if not measured:
        raise UserError("none of the runs has robustness records; make them with `offline-mbrl robustness`")
    return measured


def point_of(record: Record) -> Point:
    """Where a record belongs."""
    kind = record["kind"]
    if kind == GRID and record["variant"].endswith("as released"):
        kind = RELEASED
    return Point(kind, tuple((name, record[name]) for name in AXES if name in record))


def _acting_curves(folder: Path) -> list[Curve]:
    """The curves of a job's sound seeds, of its own way of acting, which is what is measured."""
    variant = read_json(folder / JOB)["config"].get("variant")
    return [
        curve
        for curve in read_curves([folder])
        if curve.status != "diverged" and curve.settings.get("variant") == variant
    ]


def _measured(group: Group, members: Sequence[tuple[Path, Curve]]) -> Measured:
    latest = [record for folder, curve in members for record in _latest(folder, curve.seed)]
    points: dict[Point, list[float]] = {}
    for record in latest:
        points.setdefault(point_of(record), []).append(float(record["score"]))
    # A point that only some seeds have would be a mean over other seeds than its neighbors'.
    whole = {point: np.array(scores) for point, scores in points.items() if len(scores) == len(members)}
    return Measured(group.row, group.column, whole, frozenset(len(record["returns"]) for record in latest))


def _latest(folder: Path, seed: int) -> Iterable[Record]:
    """One record for each point, after the most gradient steps; of those made with other episodes the last."""
    records = [record for record in read_records(folder / ROBUSTNESS) if record["seed"] == seed]
    step = max((record["step"] for record in records), default=0)
    return {point_of(record): record for record in records if record["step"] == step}.values()
