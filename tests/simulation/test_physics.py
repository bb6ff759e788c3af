from pathlib import Path

import gymnasium
import h5py
import mujoco
import numpy as np
import pytest

from offline_mbrl.simulation.physics import (
    Inertial,
    asset_path,
    body_inertials,
    capsule_inertia,
    combine,
    load_model,
    rotate,
)
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import PHYSICS, ROBOTS, Physics, get_robot


def test_capsule_is_a_cylinder_of_length_2h_plus_r() -> None:
    # Hopper's torso: r = 0.05, h = 0.2, so L = 0.45, m = 1000 pi 0.0025 0.45.
    mass, inertia = capsule_inertia(0.05, 0.2)
    assert mass == pytest.approx(3.5342917352885173, rel=1e-14)
    # m (3 r^2 + L^2) / 12 = 3.5342917 * (0.0075 + 0.2025) / 12 and m r^2 / 2 = 3.5342917 * 0.00125
    np.testing.assert_allclose(
        inertia, np.diag([0.06185010536754905, 0.06185010536754905, 0.004417864669110647]), rtol=1e-13
    )


def test_two_point_masses_combine_by_the_parallel_axis_rule() -> None:
    none = np.zeros((3, 3))
    whole = combine([Inertial(1.0, np.array([0.0, 0.0, 0.0]), none), Inertial(3.0, np.array([2.0, 0.0, 0.0]), none)])
    assert whole.mass == 4.0
    np.testing.assert_allclose(whole.center, [1.5, 0, 0])
    np.testing.assert_allclose(whole.inertia, np.diag([0.0, 3.0, 3.0]))  # 1 * 1.5^2 + 3 * 0.5^2


def test_one_part_combines_to_itself() -> None:
    part = Inertial(2.0, np.array([0.1, 0.2, 0.3]), np.diag([1.0, 2.0, 3.0]))
    whole = combine([part])
    np.testing.assert_array_equal(whole.center, part.center)
    np.testing.assert_array_equal(whole.inertia, part.inertia)


def test_quarter_turn_about_y_swaps_x_and_z() -> None:
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    np.testing.assert_allclose(rotate(np.diag([1.0, 2.0, 3.0]), turn), np.diag([3.0, 2.0, 1.0]))


@pytest.mark.parametrize("name", ROBOTS)
def test_compiled_bodies_have_the_old_inertials(name: str) -> None:
    model = load_model(get_robot(name), "d4rl-v2")
    inertials = body_inertials(load_model(get_robot(name), "gymnasium-v4"))
    scale = model.body_mass.sum() / sum(inertial.mass for inertial in inertials.values())
    for body, inertial in inertials.items():
        compiled = model.body(body)
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, compiled.iquat)
        about_center = rotate(np.diag(compiled.inertia), rotation.reshape(3, 3))
        np.testing.assert_allclose(compiled.mass, inertial.mass * scale, rtol=1e-12)
        np.testing.assert_allclose(compiled.ipos, inertial.center, atol=1e-14)
        np.testing.assert_allclose(about_center, inertial.inertia * scale, atol=1e-12)


@pytest.mark.parametrize(("name", "mass"), [("hopper", 15.264998703792806), ("halfcheetah", 14.0)])
def test_total_mass(name: str, mass: float) -> None:
    assert load_model(get_robot(name), "d4rl-v2").body_mass.sum() == pytest.approx(mass, rel=1e-12)


@pytest.mark.parametrize("name", ROBOTS)
def test_physics_differ_in_inertials_and_floor_margin_only(name: str) -> None:
    old, new = (load_model(get_robot(name), physics) for physics in PHYSICS)
    same = ("geom_size", "geom_pos", "geom_friction", "geom_solref", "geom_solimp", "jnt_range", "jnt_stiffness")
    for field in (*same, "dof_armature", "dof_damping", "actuator_gear", "qpos0", "body_pos", "body_quat"):
        np.testing.assert_array_equal(getattr(old, field), getattr(new, field), err_msg=field)
    assert (old.opt.timestep, old.opt.integrator) == (new.opt.timestep, new.opt.integrator)
    assert old.geom("floor").margin == 0
    np.testing.assert_array_equal(old.geom_margin[1:], new.geom_margin[1:])


def test_gymnasium_physics_is_the_asset_untouched() -> None:
    robot = get_robot("hopper")
    shipped = mujoco.MjModel.from_xml_path(str(asset_path(robot)))
    model = load_model(robot, "gymnasium-v4")
    np.testing.assert_array_equal(model.body_mass, shipped.body_mass)
    np.testing.assert_array_equal(model.body_inertia, shipped.body_inertia)


@pytest.mark.parametrize("name", ROBOTS)
def test_our_copies_of_the_assets_are_gymnasiums(name: str) -> None:
    theirs = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    ours = asset_path(get_robot(name))
    assert ours.read_bytes() == (theirs / ours.name).read_bytes()
    assert "The MIT License" in (ours.parent / "LICENSE").read_text()


def replay_errors(path: Path, name: str, physics: Physics) -> tuple[np.ndarray, np.ndarray]:
    """One step from every recorded state whose velocity is unclipped: errors [n] of observation and reward."""
    with h5py.File(path) as file:
        qpos, qvel, actions = (file[key][:] for key in ("infos/qpos", "infos/qvel", "actions"))
        next_obs, rewards, terminals = (file[key][:] for key in ("next_observations", "rewards", "terminals"))
    known = (np.abs(qvel) < 10).all(-1)
    simulator = Simulator(get_robot(name), int(known.sum()), physics)
    simulator.set_state(qpos[known], qvel[known])
    step = simulator.step(actions[known])
    np.testing.assert_array_equal(step.terminated, terminals[known])
    return np.abs(step.obs - next_obs[known]).max(-1), np.abs(step.reward - rewards[known])


@pytest.mark.parametrize(("name", "rows"), [("hopper", 761), ("halfcheetah", 641)])
def test_d4rl_physics_replays_real_transitions(shared: Path, name: str, rows: int) -> None:
    obs_error, reward_error = replay_errors(shared / "d4rl" / f"{name}_medium-v2.hdf5", name, "d4rl-v2")
    assert len(obs_error) == rows
    assert np.median(obs_error) < 1e-5
    assert obs_error.max() < 1e-3
    assert reward_error.max() < 1e-5


@pytest.mark.parametrize("name", ["hopper", "halfcheetah"])
def test_gymnasium_physics_does_not(shared: Path, name: str) -> None:
    obs_error, reward_error = replay_errors(shared / "d4rl" / f"{name}_medium-v2.hdf5", name, "gymnasium-v4")
    assert np.median(obs_error) > 1e-3
    assert obs_error.max() > 1e-2
    assert np.median(reward_error) > 1e-4
