from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.simulation.evaluate import evaluate, reset_seeds
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import get_robot

HOPPER = get_robot("hopper")
SEEDS = np.array([[1, 2], [3, 4], [5, 6]])


def policy(obs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sensitive to its input, so that episodes end apart."""
    action: NDArray[np.float32] = np.float32(0.5) * np.sin(500 * obs[..., :3])
    return action


def episode(seed: int, horizon: int) -> tuple[float, int]:
    """The oracle: one episode alone, step by step."""
    simulator = Simulator(replace(HOPPER, horizon=horizon), 1)
    obs, total, length = simulator.reset([seed]), 0.0, 0
    while True:
        step = simulator.step(policy(obs.astype(np.float32)))
        obs, total, length = step.obs, total + step.reward[0], length + 1
        if step.terminated[0] or step.truncated[0]:
            return total, length


def test_every_episode_equals_itself_alone() -> None:
    simulator = Simulator(replace(HOPPER, horizon=40), 6)
    result = evaluate(policy, simulator, SEEDS)
    expected = [[episode(seed, 40) for seed in row] for row in SEEDS.tolist()]
    np.testing.assert_array_equal(result.returns, [[total for total, _ in row] for row in expected])
    np.testing.assert_array_equal(result.lengths, [[length for _, length in row] for row in expected])
    assert len(np.unique(result.lengths)) > 1  # so that rows do end apart


def test_a_simulator_serves_again() -> None:
    simulator = Simulator(replace(HOPPER, horizon=40), 6)
    first = evaluate(policy, simulator, SEEDS)
    evaluate(lambda obs: np.ones((*obs.shape[:-1], 3)), simulator, SEEDS + 10)
    again = evaluate(policy, simulator, SEEDS)
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.lengths, again.lengths)


def test_policy_sees_all_rows_in_float32() -> None:
    shapes = set()

    def noted(obs: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.add((obs.shape, obs.dtype))
        return policy(obs)

    evaluate(noted, Simulator(replace(HOPPER, horizon=30), 6), SEEDS)
    assert shapes == {((3, 2, 11), np.dtype(np.float32))}


def test_episodes_stop_at_the_time_limit() -> None:
    cheetah = replace(get_robot("halfcheetah"), horizon=7)
    result = evaluate(lambda obs: np.zeros((*obs.shape[:-1], 6)), Simulator(cheetah, 6), SEEDS)
    np.testing.assert_array_equal(result.lengths, np.full((3, 2), 7))


def test_finished_rows_are_not_stepped() -> None:
    simulator = Simulator(replace(HOPPER, horizon=40), 6)
    result = evaluate(policy, simulator, SEEDS)
    steps = [round(data.time / 0.008) for data in simulator.datas]
    assert steps == result.lengths.ravel().tolist()


def test_a_diverged_seed_leaves_the_others_alone() -> None:
    def diverged(obs: NDArray[np.float32]) -> NDArray[np.float32]:
        action = policy(obs)
        action[1] = np.nan
        return action

    simulator = Simulator(replace(HOPPER, horizon=40), 6)
    whole, part = evaluate(policy, simulator, SEEDS), evaluate(diverged, simulator, SEEDS)
    np.testing.assert_array_equal(part.returns[[0, 2]], whole.returns[[0, 2]])
    np.testing.assert_array_equal(part.returns[1], [0, 0])
    np.testing.assert_array_equal(part.lengths[1], [1, 1])


def test_reset_seeds_depend_on_seed_step_and_episode_alone() -> None:
    seeds = reset_seeds([0, 1, 7], 1000, 5)
    assert seeds.shape == (3, 5)
    np.testing.assert_array_equal(seeds, reset_seeds([0, 1, 7], 1000, 5))
    np.testing.assert_array_equal(seeds[2:, :3], reset_seeds([7], 1000, 3))
    assert len(np.unique(np.stack([seeds, reset_seeds([0, 1, 7], 1001, 5)]))) == 30


def test_reset_seeds_stay_what_they_were() -> None:
    state = np.random.SeedSequence([3, 500, 1]).generate_state(1, np.uint64)
    assert reset_seeds([3], 500, 2)[0, 1] == state[0]
