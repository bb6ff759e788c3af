"""The front door: what a notebook does with five lines, and with the pieces apart."""

import doctest
import subprocess
import sys
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box

import offline_mbrl as om
from offline_mbrl import api
from offline_mbrl.errors import UserError

SMALL: dict[str, Any] = {
    "hidden": (8, 8),
    "batch_size": 16,
    "rollout_batch": 20,
    "rollout_every": 10,
    "dynamics": {"hidden": (8, 8), "weight_decay": (0.0, 0.0, 0.0), "max_epochs": 2},
}


def test_importing_the_package_imports_no_jax() -> None:
    script = "import sys, offline_mbrl; assert 'jax' not in sys.modules and 'evaluate' in dir(offline_mbrl)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_every_name_of_the_front_door_is_there() -> None:
    for name in om.__all__:
        assert getattr(om, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        getattr(om, "evalute")  # noqa: B009


@pytest.mark.medium
def test_the_examples_of_its_docstrings_run() -> None:
    results = doctest.testmod(api, optionflags=doctest.ELLIPSIS)
    assert results.attempted >= 10
    assert results.failed == 0


@pytest.fixture(scope="module")
def data() -> om.Dataset:
    return om.load("hopper-medium", "synthetic", size=400)


@pytest.fixture(scope="module")
def run(data: om.Dataset) -> tuple[om.Pretrained, om.TrainedRun]:
    mopo = om.make("mopo", data.task, steps=20, penalty_weight=2.0, **SMALL)
    model = om.pretrain(mopo, data, seeds=(3, 1))
    return model, om.train(mopo, data, model, seeds=(1, 3), evaluate_every=10, episodes=2)


@pytest.mark.medium
def test_five_lines_train_and_score(run: tuple[om.Pretrained, om.TrainedRun]) -> None:
    model, trained = run
    assert om.evaluate(trained, episodes=3).scores.shape == (2, 3)
    assert [(record["seed"], record["step"]) for record in trained.scores] == [(1, 10), (3, 10), (1, 20), (3, 20)]
    assert {"q", "critic_loss", "penalty_weight"} <= set(trained.metrics[0])
    # Each seed got its own model although they were fitted in another order.
    np.testing.assert_array_equal(
        trained.state.ensemble.elites, np.asarray(model.of((1, 3))["dynamics"].ensemble.elites)
    )


@pytest.mark.medium
def test_a_policy_is_a_function_of_arrays(run: tuple[om.Pretrained, om.TrainedRun]) -> None:
    trained = run[1]
    policy, other = trained.policy(3), trained.policy(1)
    obs = np.random.default_rng(0).normal(size=(5, 11))
    actions = policy(obs)
    assert isinstance(actions, np.ndarray)
    assert actions.shape == (5, 3)
    np.testing.assert_allclose(policy(obs[0]), actions[0], atol=1e-6)
    assert (other(obs) != actions).any()
    expected = trained.program.act(trained.state, jax.numpy.broadcast_to(obs, (2, 5, 11)))[1]
    np.testing.assert_allclose(actions, expected, atol=1e-6)
    drawn = trained.policy(3, deterministic=False)
    assert (drawn(obs) != drawn(obs)).any()
    with pytest.raises(UserError, match="seed 2 was not trained; this run has 1, 3"):
        trained.policy(2)


class Reach(gymnasium.Env[np.ndarray, np.ndarray]):
    """Ends after four steps; pays the first action, which lies in [0, 10]."""

    observation_space = Box(-1, 1, (11,))
    action_space = Box(0.0, 10.0, (3,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.count = 0
        return np.zeros(11), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return np.zeros(11), float(action[0]), False, self.count == 4, {}


def test_a_users_own_environment_judges() -> None:
    half = om.evaluate(lambda obs: np.full((len(obs), 3), 0.5), "hopper-medium", environment=Reach, episodes=2)
    np.testing.assert_allclose(half.returns, [[30.0, 30.0]])  # 0.5 of [-1, 1] is 7.5 of [0, 10]
    np.testing.assert_array_equal(half.lengths, [[4, 4]])
    with pytest.raises(UserError, match="needs a task"):
        om.evaluate(lambda obs: np.zeros((len(obs), 3)))


@pytest.mark.medium
def test_imagined_steps_follow_the_policy_and_the_model(
    data: om.Dataset, run: tuple[om.Pretrained, om.TrainedRun]
) -> None:
    model, trained = run
    starts = data.observations[:6]
    imagined = om.imagine(trained.system, model, starts, horizon=3, policy=trained.policy(1), model_seed=1)
    assert (imagined.obs.shape, imagined.reward.shape) == ((3, 6, 11), (3, 6))
    np.testing.assert_array_equal(imagined.obs[0], starts)
    np.testing.assert_array_equal(imagined.obs[1:], imagined.next_obs[:-1])
    np.testing.assert_allclose(imagined.action[0], trained.policy(1)(starts), atol=1e-6)
    again = om.imagine(trained.system, model, starts, horizon=3, policy=trained.policy(1), model_seed=1)
    np.testing.assert_array_equal(imagined.next_obs, again.next_obs)
    assert (np.abs(om.imagine(trained.system, model, starts, horizon=1).action) <= 1).all()


def test_a_robot_of_ones_own() -> None:
    task = om.Task(
        om.Robot("cart", obs_dim=2, action_dim=1, frame_skip=1, random_return=0.0, expert_return=10.0), "own"
    )
    obs = np.random.default_rng(0).normal(size=(6, 2))
    data = om.from_arrays(
        task,
        observations=obs,
        actions=np.zeros((6, 1)),
        rewards=np.ones(6),
        terminals=[False] * 5 + [True],
        timeouts=[False] * 6,
        next_observations=np.vstack([obs[1:], obs[:1]]),
    )
    system = om.make("bc", data.task, steps=4, hidden=(4,), batch_size=2)
    assert system.problem.obs_dim == 2
    assert not np.asarray(system.problem.terminates(jax.numpy.full((3, 2), 1e3))).any()


def test_what_was_not_fitted_is_named(data: om.Dataset) -> None:
    bc = om.make("bc", data.task, steps=10, hidden=(4,), batch_size=2)
    nothing = om.pretrain(bc, data, seeds=(0,))
    with pytest.raises(UserError, match="nothing was fitted for seed 5"):
        om.train(bc, data, nothing, seeds=(5,), evaluate_every=5)
    with pytest.raises(UserError, match="bc has no world model"):
        om.imagine(bc, nothing, data.observations[:2])
    with pytest.raises(UserError, match="not a multiple"):
        om.train(bc, data, nothing, evaluate_every=7)


@pytest.mark.medium
def test_a_model_is_measured_under_a_users_policy(data: om.Dataset, run: tuple[om.Pretrained, om.TrainedRun]) -> None:
    model, trained = run
    found = om.measure_model(
        trained.system, data, model, policy=trained.policy(1), rows=8, horizon=2, samples=1, model_seed=1
    )
    assert list(found["actions"]) == ["data", "policy", "random"]
    assert found["starts"] == 8
    with pytest.raises(UserError, match="bc has no world model to measure"):
        om.measure_model(om.make("bc", data.task, steps=10), data, model._replace(results={}))


@pytest.mark.slow
def test_a_run_in_memory_is_measured_like_one_in_a_folder(
    data: om.Dataset, run: tuple[om.Pretrained, om.TrainedRun]
) -> None:
    """Nothing changed is its last evaluation; an attack has a record for each budget and seed."""
    _, trained = run
    measured = om.measure_robustness(trained, data, what=["attacks"], attacks=["random"], episodes=2, points=2)
    assert [record["kind"] for record in measured] == ["clean"] * 2 + ["random"] * 4
    last = [record["returns"] for record in trained.scores if record["step"] == 20]
    np.testing.assert_array_equal([record["returns"] for record in measured[:2]], last)
