"""A robot whose friction, gravity, mass, damping or motors are multiplied, as MuJoCo compiles it from its changed XML.

MICRO (arXiv 2312.03991) multiplies the numbers of every `friction` and `gravity` attribute that the file spells out.
Hopper and walker say nothing of gravity, and the hopper's floor nothing of its friction, so there the released code
changes less than its axes say. Here the file's silence is filled with MuJoCo's defaults first, unless `released`.
"""

import re
from functools import partial
from typing import Literal, NamedTuple

import mujoco

from offline_mbrl.simulation.physics import asset_path, model_spec
from offline_mbrl.tasks import Physics, Robot

Scope = Literal["whole", "released"]
"""Whether MuJoCo's defaults are multiplied too, or as in MICRO's code only what the file spells out."""

GRAVITY = 'gravity="0 0 -9.81"'
FRICTION = 'friction="1 0.005 0.0001"'
"""What MuJoCo takes where a file is silent."""


class Change(NamedTuple):
    """Multipliers; 1 leaves a quantity as it is."""

    friction: float = 1.0  # of all geoms: sliding, torsional, rolling
    gravity: float = 1.0
    mass: float = 1.0  # of all bodies, their inertias with it
    damping: float = 1.0  # of all joints
    actuator: float = 1.0  # of the motors' gear: torque per unit of action


UNCHANGED = Change()


def changed_model(robot: Robot, physics: Physics, change: Change, scope: Scope = "whole") -> mujoco.MjModel:
    """The compiled model of `robot` under a changed `physics`."""
    xml = asset_path(robot).read_text(encoding="utf-8")
    spec = model_spec(robot, physics, changed_xml(xml if scope == "released" else spelled_out(xml), change))
    if change.mass != 1.0:
        spec.compiler.settotalmass = change.mass * float(spec.compile().body_mass.sum())
    return spec.compile()


def changed_xml(xml: str, change: Change) -> str:
    """The text with every attribute of friction, gravity, damping and gear multiplied; the mass is not in it."""
    attributes = {
        "friction": change.friction,
        "gravity": change.gravity,
        "damping": change.damping,
        "gear": change.actuator,
    }
    for name, factor in attributes.items():
        xml = multiplied(xml, name, factor)
    return xml


def multiplied(xml: str, attribute: str, factor: float) -> str:
    """Every number of every `attribute` times `factor`; by 1 the text stays as it is, letter for letter."""
    if factor == 1.0:
        return xml
    return re.sub(rf'(?<=\s){attribute}="([^"]*)"', partial(_times, attribute, factor), xml)


def spelled_out(xml: str) -> str:
    """The text with MuJoCo's gravity and friction written where it has none, the latter as the default of all geoms."""
    if " gravity=" not in xml:
        xml = xml.replace("<option ", f"<option {GRAVITY} ", 1)
    (defaults,) = re.findall(r"<default>.*?</default>", xml, re.DOTALL)
    if " friction=" in defaults:
        return xml
    return xml.replace(defaults, defaults.replace("<geom ", f"<geom {FRICTION} ", 1), 1)


def _times(attribute: str, factor: float, match: re.Match[str]) -> str:
    numbers = " ".join(repr(factor * float(number)) for number in match[1].split())
    return f'{attribute}="{numbers}"'
