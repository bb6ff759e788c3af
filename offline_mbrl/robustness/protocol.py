"""What is measured: points, each a way in which the world, the sensors or an opponent differ from training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, get_args

import numpy as np

from offline_mbrl.errors import UserError, unknown_name
from offline_mbrl.robustness.attacks import ATTACKS, NEED_CRITICS, AttackName
from offline_mbrl.robustness.physics import Change, Scope
from offline_mbrl.robustness.sensors import SENSORS

What = Literal["physics", "attacks", "sensors"]
WHAT: tuple[What, ...] = get_args(What)

CLEAN, GRID = "clean", "grid"

FRICTION, GRAVITY = (0.5, 1.5), (0.5, 5.0)
"""MICRO's ranges of the multipliers."""

ALONE: Mapping[str, tuple[float, float]] = {"mass": (0.5, 1.5), "damping": (0.5, 1.5), "actuator": (0.5, 1.5)}
"""What is multiplied one at a time, and its range (our choice)."""

STRONGEST = 0.2
"""MICRO's largest epsilon, in standard deviations of the data."""


class Point(NamedTuple):
    """One condition: its kind, and where on that kind's axes it lies."""

    kind: str
    values: tuple[tuple[str, float], ...] = ()

    @property
    def change(self) -> Change:
        """The physics; that of the run where the point is of another kind."""
        known = {name: value for name, value in self.values if name in Change._fields}
        return Change(**known)

    @property
    def epsilon(self) -> float:
        """The budget of an attack; 0 where there is none."""
        return dict(self.values).get("epsilon", 0.0)


@dataclass(frozen=True)
class Protocol:
    """How a run is measured; MICRO's numbers are the defaults."""

    what: tuple[What, ...] = WHAT
    episodes: int = 10  # of each point and seed
    points: int = 10  # on each axis
    draws: int = 50  # of an attack that samples
    scope: Scope = "whole"
    attacks: tuple[AttackName, ...] = ATTACKS

    def label(self, point: Point) -> str:
        """The name of a point, which no other point and no other way to measure it has."""
        values = [f"{name}={value:.6g}" for name, value in point.values]
        own = [f"draws={self.draws}"] if point.kind in ATTACKS else []
        own += ["as released"] if point.kind == GRID and self.scope == "released" else []
        return " ".join([point.kind, *values, f"episodes={self.episodes}", *own])


def grid(points: int) -> list[Point]:
    """MICRO's joint grid of friction and gravity: points x points."""
    axes = product(np.linspace(*FRICTION, points), np.linspace(*GRAVITY, points))
    return [Point(GRID, (("friction", float(friction)), ("gravity", float(gravity)))) for friction, gravity in axes]


def line(kind: str, axis: str, low: float, high: float, points: int) -> list[Point]:
    """Points of one axis."""
    return [Point(kind, ((axis, float(value)),)) for value in np.linspace(low, high, points)]


def batches(protocol: Protocol) -> Iterator[list[Point]]:
    """The points in lists of one kind each, the unchanged world first; those of a list are played side by side.

    Physics of any kind can share a list; so can the budgets of one attack.
    """
    yield [Point(CLEAN)]
    if "physics" in protocol.what:
        yield grid(protocol.points) + [
            point for name, ends in ALONE.items() for point in line(name, name, *ends, protocol.points)
        ]
    if "attacks" in protocol.what:
        yield from (line(name, "epsilon", 0.0, STRONGEST, protocol.points) for name in protocol.attacks)
    if "sensors" in protocol.what:
        yield from ([Point(name)] for name in SENSORS)


def choose_attacks(names: Sequence[str], has_critics: bool, system: str) -> tuple[AttackName, ...]:
    """The attacks of those names, all where none is named, less those that ask critics which the system has not.

    Raises:
      UserError: a name is unknown, or nothing is left.
    """
    for name in names:
        if name not in ATTACKS:
            raise unknown_name("attack", name, ATTACKS)
    possible = tuple(name for name in ATTACKS if has_critics or name not in NEED_CRITICS)
    asked = tuple(name for name in possible if not names or name in names)
    if not asked:
        raise UserError(f"{system} has no critics, which {' and '.join(names)} would ask; name other attacks")
    return asked
