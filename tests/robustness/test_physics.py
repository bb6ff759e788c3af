"""Changed robots against what MuJoCo compiles from XML that is changed by other means, and by hand."""

from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from offline_mbrl.robustness.physics import UNCHANGED, Change, changed_model, changed_xml, multiplied, spelled_out
from offline_mbrl.simulation.physics import asset_path, load_model
from offline_mbrl.tasks import PHYSICS, Physics, get_robot

NAMES = ("halfcheetah", "hopper", "walker2d")


def model_bytes(model: mujoco.MjModel) -> bytes:
    """All of a compiled model."""
    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def text_of(name: str) -> str:
    return asset_path(get_robot(name)).read_text()


def times(tree: ElementTree.Element, attribute: str, factor: float) -> None:
    for element in tree.iter():
        if attribute in element.attrib:
            element.set(
                attribute, " ".join(str(factor * float(number)) for number in element.attrib[attribute].split())
            )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("physics", PHYSICS)
def test_multipliers_of_one_are_the_identity(name: str, physics: Physics) -> None:
    robot = get_robot(name)
    for scope in ("whole", "released"):
        changed = changed_model(robot, physics, UNCHANGED, scope)
        assert model_bytes(changed) == model_bytes(load_model(robot, physics))


@pytest.mark.parametrize("name", NAMES)
def test_the_changed_robot_is_what_mujoco_compiles_from_changed_xml(name: str) -> None:
    """The tree is changed attribute by attribute here, the text by a pattern there."""
    tree = ElementTree.fromstring(text_of(name))
    for attribute, factor in (("friction", 0.7), ("gravity", 2.5), ("damping", 1.5), ("gear", 0.5)):
        times(tree, attribute, factor)
    floor = tree.find(".//geom[@name='floor']")
    assert floor is not None
    floor.set("margin", "0")  # as `physics.gymnasium_spec` has it for every version of MuJoCo
    expected = mujoco.MjModel.from_xml_string(ElementTree.tostring(tree, "unicode"))
    change = Change(friction=0.7, gravity=2.5, damping=1.5, actuator=0.5)
    changed = changed_model(get_robot(name), "gymnasium-v4", change, "released")
    assert model_bytes(changed) == model_bytes(expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("physics", PHYSICS)
def test_the_whole_robot_has_all_its_quantities_multiplied(name: str, physics: Physics) -> None:
    robot, change = get_robot(name), Change(0.5, 3.0, 1.4, 0.8, 1.2)
    old, new = load_model(robot, physics), changed_model(robot, physics, change)
    np.testing.assert_allclose(new.opt.gravity, 3.0 * old.opt.gravity)
    np.testing.assert_allclose(new.geom_friction, 0.5 * old.geom_friction)
    np.testing.assert_allclose(new.body_mass, 1.4 * old.body_mass)
    np.testing.assert_allclose(new.body_inertia, 1.4 * old.body_inertia)
    np.testing.assert_allclose(new.dof_damping, 0.8 * old.dof_damping)
    np.testing.assert_allclose(new.actuator_gear, 1.2 * old.actuator_gear)


@pytest.mark.parametrize(("name", "responds"), [("halfcheetah", True), ("hopper", False), ("walker2d", False)])
def test_only_the_half_cheetah_has_gravity_in_its_file(name: str, responds: bool) -> None:
    """So MICRO's released grid has no gravity axis for the other two."""
    robot, change = get_robot(name), Change(gravity=2.0)
    same = model_bytes(changed_model(robot, "gymnasium-v4", change, "released")) == model_bytes(
        load_model(robot, "gymnasium-v4")
    )
    assert same is not responds


def test_the_released_grid_of_the_half_cheetah_is_the_whole_one() -> None:
    robot, change = get_robot("halfcheetah"), Change(friction=0.6, gravity=4.0)
    whole, released = (changed_model(robot, "d4rl-v2", change, scope) for scope in ("whole", "released"))
    assert model_bytes(whole) == model_bytes(released)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_that_are_spelled_out_change_nothing(name: str) -> None:
    text = spelled_out(text_of(name))
    assert " gravity=" in text
    compiled = mujoco.MjModel.from_xml_string(text)
    assert model_bytes(compiled) == model_bytes(mujoco.MjModel.from_xml_string(text_of(name)))


def test_every_number_of_an_attribute_is_multiplied_and_no_other_attribute() -> None:
    text = '<geom friction="1 .5 2e-1" frictionloss="3"/><joint damping="4"/>'
    assert multiplied(text, "friction", 2.0) == '<geom friction="2.0 1.0 0.4" frictionloss="3"/><joint damping="4"/>'


def test_the_mass_is_not_in_the_text() -> None:
    assert changed_xml(text_of("hopper"), Change(mass=2.0)) == text_of("hopper")
