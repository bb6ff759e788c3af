"""MuJoCo models of the three robots, with today's bodies or with those that D4RL v2 was recorded on.

Before MuJoCo 2.1.2 a capsule weighed as much as a cylinder of length 2h + r; since then it has its exact volume and
inertia (MuJoCo changelog, 2.1.2). The D4RL v2 data sets (Fu et al. 2020, arXiv 2004.07219) come from the older engine,
so the `d4rl-v2` physics gives every body the inertia that engine computed from the same geometry.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.errors import UserError
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics, Robot

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

DENSITY = 1000.0  # kg / m^3, MuJoCo's default for geoms

ASSETS: dict[str, str] = {"halfcheetah": "half_cheetah.xml", "hopper": "hopper.xml", "walker2d": "walker2d.xml"}
TOTAL_MASS: dict[str, float] = {"halfcheetah": 14.0}  # kg, the asset's `settotalmass`; others weigh their geoms


class Inertial(NamedTuple):
    """A rigid body's mass [kg], center of mass [3, m] and inertia about that center [3, 3, kg m^2], in one frame."""

    mass: float
    center: Vector
    inertia: Matrix


def load_model(robot: Robot, physics: Physics = DEFAULT_PHYSICS) -> mujoco.MjModel:
    """The robot's compiled model, from our copy of Gymnasium's XML file."""
    if robot.name not in ASSETS:
        raise UserError(f"the simulator has no robot '{robot.name}'; judge it in an environment of your own")
    with warnings.catch_warnings():
        # The half cheetah's file has it; from MuJoCo 3.17 on that is announced to go.
        warnings.filterwarnings("ignore", "compiler attribute 'settotalmass'")
        return model_spec(robot, physics, asset_path(robot).read_text()).compile()


def model_spec(robot: Robot, physics: Physics, xml: str) -> mujoco.MjSpec:
    """What a robot's XML text says under `physics`, before it is compiled."""
    return gymnasium_spec(xml) if physics == "gymnasium-v4" else d4rl_spec(xml, TOTAL_MASS.get(robot.name))


def asset_path(robot: Robot) -> Path:
    """Our copy of the XML file of Gymnasium's v4 environment."""
    return Path(__file__).parent / "assets" / ASSETS[robot.name]


def gymnasium_spec(xml: str) -> mujoco.MjSpec:
    """An XML text's model on a floor without margin.

    From MuJoCo 3.5 a contact's margin is the sum of both geoms' margins, before it was the larger one: a floor without
    margin gives the old value on every version.
    """
    spec = mujoco.MjSpec.from_string(xml)
    spec.geom("floor").margin = 0
    return spec


def d4rl_spec(xml: str, total_mass: float | None = None) -> mujoco.MjSpec:
    """An XML text's model with explicit inertials of the old kind, all scaled so that the robot weighs `total_mass`."""
    spec = gymnasium_spec(xml)
    inertials = body_inertials(mujoco.MjModel.from_xml_string(xml))
    scale = total_mass / sum(body.mass for body in inertials.values()) if total_mass else 1.0
    for name, inertial in inertials.items():
        set_inertial(spec.body(name), inertial, scale)
    spec.compiler.inertiafromgeom = int(mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE)
    spec.compiler.settotalmass = -1
    return spec


def set_inertial(body: mujoco.MjsBody, inertial: Inertial, scale: float) -> None:
    """Write `inertial`, its mass scaled at fixed geometry, into the body of a spec."""
    xx, yy, zz, xy, xz, yz = inertial.inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] * scale
    body.explicitinertial = True
    body.mass = inertial.mass * scale
    body.ipos = inertial.center
    body.fullinertia = [xx, yy, zz, xy, xz, yz]


def body_inertials(model: mujoco.MjModel) -> dict[str, Inertial]:
    """The old engine's inertial of every moving body, by name, from the body's capsules."""
    return {
        model.body(body).name: combine([geom_inertial(model, geom) for geom in body_geoms(model, body)])
        for body in range(1, model.nbody)
    }


def body_geoms(model: mujoco.MjModel, body: int) -> range:
    """The geoms of a body, which MuJoCo keeps side by side."""
    return range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body])


def geom_inertial(model: mujoco.MjModel, geom: int) -> Inertial:
    """The inertial of one capsule geom in the frame of its body."""
    assert model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE, "every body of the three robots is made of capsules"
    radius, half_length = model.geom_size[geom, :2]
    mass, inertia = capsule_inertia(radius, half_length)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    return Inertial(mass, model.geom_pos[geom].copy(), rotate(inertia, rotation.reshape(3, 3)))


def capsule_inertia(radius: float, half_length: float) -> tuple[float, Matrix]:
    """Mass and inertia about the center, axis z, of a capsule taken for a cylinder of length L = 2h + r.

    m = rho pi r^2 L,  I_xx = I_yy = m (3 r^2 + L^2) / 12,  I_zz = m r^2 / 2.
    """
    length = 2 * half_length + radius
    mass = DENSITY * np.pi * radius**2 * length
    across = mass * (3 * radius**2 + length**2) / 12
    return mass, np.diag([across, across, mass * radius**2 / 2])


def rotate(inertia: Matrix, rotation: Matrix) -> Matrix:
    """R I R^T: the inertia in the frame that `rotation` maps into."""
    return rotation @ inertia @ rotation.T


def shift(mass: float, offset: Vector) -> Matrix:
    """The parallel-axis term m (|d|^2 E - d d^T): what an inertia gains when its reference point moves by d."""
    return mass * (offset @ offset * np.eye(3) - np.outer(offset, offset))


def combine(parts: list[Inertial]) -> Inertial:
    """One rigid body from its parts, which share a frame.

    m = sum_i m_i,  c = sum_i m_i c_i / m,  I = sum_i I_i + m_i (|c_i - c|^2 E - (c_i - c)(c_i - c)^T).
    """
    mass = sum(part.mass for part in parts)
    center = np.sum([part.mass * part.center for part in parts], axis=0) / mass
    inertia = np.sum([part.inertia + shift(part.mass, part.center - center) for part in parts], axis=0)
    return Inertial(mass, center, inertia)
