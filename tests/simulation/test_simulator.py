from dataclasses import replace

import gymnasium
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from offline_mbrl.simulation.physics import load_model
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import ROBOTS, Physics, get_robot

GYMNASIUM = {"halfcheetah": "HalfCheetah-v4", "hopper": "Hopper-v4", "walker2d": "Walker2d-v4"}
HOPPER = get_robot("hopper")
SUMS_MARGINS = tuple(map(int, mujoco.__version__.split(".")[:2])) >= (3, 5)
"""There Gymnasium's own hopper has another contact margin than on the engine its environments were made for."""


def actions(simulator: Simulator, seed: int, scale: float = 1.0) -> NDArray[np.float32]:
    shape = simulator.num_envs, simulator.robot.action_dim
    return np.random.default_rng(seed).uniform(-scale, scale, shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ROBOTS)
def test_equals_gymnasium_step_for_step(name: str, dtype: type[np.floating]) -> None:
    if name == "hopper" and SUMS_MARGINS:
        pytest.skip("from MuJoCo 3.5 on Gymnasium's own hopper has twice the contact margin")
    seeds, episodes_steps = [3, 2**40, 11], 0
    simulator = Simulator(get_robot(name), 3, "gymnasium-v4")
    obs = simulator.reset(seeds)
    for row, seed in enumerate(seeds):
        environment = gymnasium.make(GYMNASIUM[name])
        simulator.reset(seeds)
        first, _ = environment.reset(seed=seed)
        np.testing.assert_array_equal(obs[row], first)
        for time in range(100):
            action = actions(simulator, time, scale=1.2).astype(dtype)  # some lie beyond the motors' range
            step = simulator.step(action)
            next_obs, reward, terminated, truncated, _ = environment.step(action[row])
            np.testing.assert_array_equal(step.obs[row], next_obs)
            assert step.reward[row] == reward
            assert (step.terminated[row], step.truncated[row]) == (terminated, truncated)
            episodes_steps += 1
            if terminated:
                break
    assert (episodes_steps == 300) == (name == "halfcheetah")


def test_time_limit_equals_gymnasium() -> None:
    simulator, environment = Simulator(get_robot("halfcheetah"), 1, "gymnasium-v4"), gymnasium.make("HalfCheetah-v4")
    simulator.reset([0])
    environment.reset(seed=0)
    for time in range(1, 1001):
        action = actions(simulator, time)
        step = simulator.step(action)
        next_obs, reward, terminated, truncated, _ = environment.step(action[0])
        np.testing.assert_array_equal(step.obs[0], next_obs)
        assert step.reward[0] == reward
        assert (step.terminated[0], step.truncated[0]) == (terminated, truncated) == (False, time == 1000)


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("physics", ["d4rl-v2", "gymnasium-v4"])
def test_starts_do_not_depend_on_the_physics(name: str, physics: Physics) -> None:
    environment = gymnasium.make(GYMNASIUM[name])
    starts = Simulator(get_robot(name), 20, physics).reset(range(20))
    np.testing.assert_array_equal(starts, [environment.reset(seed=seed)[0] for seed in range(20)])


def trajectory(simulator: Simulator, rows: slice = slice(None)) -> NDArray[np.float64]:
    """Observations and rewards [30, rows, obs_dim + 1]; row i is driven by its own seed and actions."""
    simulator.reset(range(100, 100 + simulator.num_envs))
    every = np.random.default_rng(0).uniform(-1, 1, (30, 12, 3))[:, : simulator.num_envs]
    steps = [simulator.step(action) for action in every]
    return np.stack([np.column_stack([step.obs, step.reward])[rows] for step in steps])


def test_threads_do_not_change_results() -> None:
    one, *others = (trajectory(Simulator(HOPPER, 11, threads=threads)) for threads in (1, 2, 3, 16))
    for other in others:
        np.testing.assert_array_equal(one, other)


def test_rows_do_not_depend_on_their_number() -> None:
    many, few = trajectory(Simulator(HOPPER, 12), slice(0, 4)), trajectory(Simulator(HOPPER, 4))
    np.testing.assert_array_equal(many, few)


def test_reset_forgets_the_past() -> None:
    simulator = Simulator(HOPPER, 5)
    first = trajectory(simulator)
    np.testing.assert_array_equal(first, trajectory(simulator))


def test_rows_restart_alone() -> None:
    simulator, other = Simulator(HOPPER, 3), Simulator(HOPPER, 3)
    simulator.reset([0, 1, 2])
    other.reset([0, 9, 2])
    for time in range(3):
        kept = simulator.step(actions(simulator, time))
    for time in range(3):
        expected = other.step(actions(other, time))
    obs = simulator.reset([9], rows=[1])
    np.testing.assert_array_equal(obs[[0, 2]], kept.obs[[0, 2]])
    np.testing.assert_array_equal(obs[1], Simulator(HOPPER, 1).reset([9])[0])
    np.testing.assert_array_equal(obs, simulator.obs)
    np.testing.assert_array_equal(simulator.reset([], rows=[]), obs)
    for time in range(3):
        alone = simulator.step(actions(simulator, time), np.array([False, True, False]))
    np.testing.assert_array_equal(alone.obs[1], expected.obs[1])
    assert alone.reward[1] == expected.reward[1]


def test_inactive_rows_stay_as_they_are() -> None:
    simulator = Simulator(replace(HOPPER, horizon=2), 3)
    obs = simulator.reset([0, 1, 2])
    active = np.array([True, False, True])
    times = [data.time for data in simulator.datas]
    for time in range(2):
        step = simulator.step(actions(simulator, time), active)
        np.testing.assert_array_equal(step.obs[1], obs[1])
        assert (step.reward[1], step.terminated[1], step.truncated[1]) == (0, False, False)
    assert step.truncated.tolist() == [True, False, True]
    assert simulator.datas[1].time == times[1]
    assert simulator.step(actions(simulator, 2)).truncated.tolist() == [True, False, True]  # its clock stood still
    assert (step.obs[[0, 2]] != obs[[0, 2]]).any(-1).all()


def test_no_active_row_is_no_step() -> None:
    simulator = Simulator(HOPPER, 3)
    obs = simulator.reset([0, 1, 2])
    step = simulator.step(actions(simulator, 0), np.zeros(3, np.bool_))
    np.testing.assert_array_equal(step.obs, obs)
    assert not step.reward.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_action_that_is_not_finite_ends_its_row_alone(bad: float) -> None:
    simulator, clean = Simulator(HOPPER, 3), Simulator(HOPPER, 3)
    obs = simulator.reset([0, 1, 2])
    clean.reset([0, 1, 2])
    good = actions(simulator, 0)
    broken = good.copy()
    broken[1, 2] = bad
    step, expected = simulator.step(broken), clean.step(good)
    assert step.terminated.tolist() == [False, True, False]
    assert step.reward[1] == 0
    np.testing.assert_array_equal(step.obs[1], obs[1])
    np.testing.assert_array_equal(step.obs[[0, 2]], expected.obs[[0, 2]])
    np.testing.assert_array_equal(step.reward[[0, 2]], expected.reward[[0, 2]])


def test_alive_reward_is_paid_on_the_terminal_step() -> None:
    simulator = Simulator(HOPPER, 1)
    simulator.set_state(np.array([[0.0, 1.25, 0.5, 0.0, 0.0, 0.0]]), np.zeros((1, 6)))  # the torso leans too far
    step = simulator.step(np.zeros((1, 3)))
    assert step.terminated[0]
    assert step.reward[0] == pytest.approx(1 + simulator.qpos[0, 0] / 0.008)


def test_returned_arrays_are_the_callers() -> None:
    simulator = Simulator(HOPPER, 2)
    obs = simulator.reset([0, 1])
    kept = obs.copy()
    first = simulator.step(actions(simulator, 0))
    first_obs = first.obs.copy()
    simulator.step(actions(simulator, 1))
    np.testing.assert_array_equal(obs, kept)
    np.testing.assert_array_equal(first.obs, first_obs)


def test_too_few_seeds_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Simulator(HOPPER, 3).reset([0, 1])


def test_model_replaces_the_physics() -> None:
    model = load_model(HOPPER)
    model.opt.gravity[2] = 0
    floating, falling = Simulator(HOPPER, 1, model=model), Simulator(HOPPER, 1)
    for simulator in (floating, falling):
        simulator.set_state(np.array([[0.0, 2.0, 0, 0, 0, 0]]), np.zeros((1, 6)))
        simulator.step(np.zeros((1, 3)))
    assert floating.qpos[0, 1] == pytest.approx(2.0, abs=1e-12)
    assert falling.qpos[0, 1] < 2 - 2e-4


def test_each_row_may_have_a_model_of_its_own() -> None:
    """A row with changed gravity does not disturb those beside it, and moves as it would alone."""
    own, changed = load_model(HOPPER), load_model(HOPPER)
    changed.opt.gravity[2] *= 2
    mixed = Simulator(HOPPER, 3, model=[own, changed, own])
    alone = [Simulator(HOPPER, 1, model=model) for model in (own, changed)]
    mixed.reset([5, 5, 5])
    for simulator in alone:
        simulator.reset([5])
    for _ in range(5):
        together = mixed.step(np.full((3, 3), 0.3))
        apart = [simulator.step(np.full((1, 3), 0.3)) for simulator in alone]
    np.testing.assert_array_equal(together.obs, np.concatenate([apart[0].obs, apart[1].obs, apart[0].obs]))
    assert not np.array_equal(together.obs[0], together.obs[1])


def test_a_model_for_some_of_the_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 models for 3 rows"):
        Simulator(HOPPER, 3, model=[load_model(HOPPER)] * 2)
