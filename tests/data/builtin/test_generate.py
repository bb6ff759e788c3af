import os
import subprocess
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from offline_mbrl.data.behavior import stochastic, uniform
from offline_mbrl.data.builtin import generate as generation
from offline_mbrl.data.builtin.behaviors import WEIGHTS, load_behaviors
from offline_mbrl.data.builtin.generate import Rows, generate, rollout_returns
from offline_mbrl.nn.networks import GaussianActor, apply
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import ROBOTS

HOPPER = ROBOTS["hopper"]


def episode_ends(rows: Rows) -> Any:
    return np.flatnonzero(rows.terminals | rows.timeouts)


def test_rows_are_whole_episodes_end_to_end_and_the_last_one_is_cut() -> None:
    rows = generate(HOPPER, uniform(HOPPER), 500, seed=3)
    assert len(rows.rewards) == 500
    jumps = np.flatnonzero((rows.next_observations[:-1] != rows.observations[1:]).any(-1))
    np.testing.assert_array_equal(jumps, episode_ends(rows)[episode_ends(rows) < 499])
    assert not rows.timeouts.any()
    # A fresh hopper stands at 1.25 m within the reset noise.
    starts = np.concatenate([[0], jumps + 1])
    np.testing.assert_allclose(rows.observations[starts, 0], 1.25, atol=5e-3)
    assert (rows.next_observations[rows.terminals, 1].__abs__() > 0.15).any()


def test_short_episodes_are_not_over_represented() -> None:
    """The rows are those of episodes 0, 1, 2, ... whichever finished first."""
    rows, more = (generate(HOPPER, uniform(HOPPER), size, seed=3) for size in (400, 800))
    np.testing.assert_array_equal(rows.observations, more.observations[:400])
    np.testing.assert_array_equal(rows.terminals, more.terminals[:400])


def test_without_cut_the_last_episode_ends() -> None:
    cut, whole = (generate(HOPPER, uniform(HOPPER), 150, seed=1, cut=cut) for cut in (True, False))
    assert len(cut.rewards) == 150 <= len(whole.rewards)
    assert whole.terminals[-1]
    np.testing.assert_array_equal(whole.actions[:150], cut.actions)


def test_results_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = generate(HOPPER, uniform(HOPPER), 300, seed=5)
    monkeypatch.setattr(
        generation, "Simulator", lambda robot, envs, physics: Simulator(robot, envs, physics, threads=3)
    )
    again = generate(HOPPER, uniform(HOPPER), 300, seed=5)
    np.testing.assert_array_equal(rows.next_observations, again.next_observations)
    assert (rows.actions != generate(HOPPER, uniform(HOPPER), 300, seed=6).actions).any()


MACHINES = {
    "narrow": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3 AVX512_SKX AVX512F AVX2 FMA3",
        "OPENBLAS_CORETYPE": "Nehalem",
        "OPENBLAS_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    },
    "wide": {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
}
"""Environments in which NumPy, BLAS and XLA compute as on other processors, as far as this one can.

NumPy's features are those of several of its versions; names that one does not know are skipped.
"""

SCRIPT = """
from offline_mbrl.data.builtin.recipe import make
from offline_mbrl.data.builtin.behaviors import WEIGHTS, load_behaviors
from offline_mbrl.tasks import get_task

task = get_task("hopper-medium-expert")
print(make(task, load_behaviors(task.robot), 1500).fingerprint)
"""


@pytest.mark.medium
def test_rows_do_not_depend_on_the_processors_vector_units() -> None:
    """Episodes part soon after a float32 sum is rounded in another order; `test_exact` holds that no sum is rounded."""
    found = {
        name: subprocess.run(
            [sys.executable, "-c", SCRIPT], env=os.environ | own, check=True, capture_output=True, text=True
        ).stdout
        for name, own in MACHINES.items()
    }
    assert found["narrow"] == found["wide"] != ""


def test_a_row_does_not_depend_on_the_others_that_are_stepped_with_it() -> None:
    behavior = load_behaviors(HOPPER).medium_behavior
    generator = np.random.default_rng(0)
    obs, noise = generator.normal(size=(7, 11)).astype(np.float32), generator.normal(size=(7, 3))
    alone = [behavior.act(obs[[row]], noise[[row]])[0] for row in range(7)]
    np.testing.assert_array_equal(behavior.act(obs, noise), alone)


def test_fewer_rows_are_the_beginning_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever number of episodes was stepped side by side."""
    behavior = load_behaviors(HOPPER).medium_behavior
    few = generate(HOPPER, behavior, 1000, seed=4)
    monkeypatch.setattr(generation, "environments", lambda rows: 5)
    more = generate(HOPPER, behavior, 2000, seed=4)
    np.testing.assert_array_equal(few.actions, more.actions[:1000])
    np.testing.assert_array_equal(few.next_observations, more.next_observations[:1000])


def test_a_behavior_acts_as_its_network_does() -> None:
    """Ours to what float32 rounds: the mean and the spread of flax's network."""
    with np.load(WEIGHTS / "hopper.npz") as archive:
        names = [name.removeprefix("actor/") for name in archive.files if name.startswith("actor/")]
        flat = {name: archive[f"actor/{name}"][-1].astype(np.float32) for name in names}
    params = unflatten_dict(flat, sep="/")
    obs = np.random.default_rng(0).normal(size=(50, 11)).astype(np.float32)
    mean, log_std = apply(GaussianActor((256, 256), 3), params, jnp.asarray(obs))
    for noise in (0.0, 1.0, -2.0):
        action = stochastic(params).act(obs, np.full((50, 3), noise))
        np.testing.assert_allclose(action, np.tanh(mean + np.exp(log_std) * noise), atol=2e-5)


def test_random_actions_fill_the_box_evenly() -> None:
    actions = generate(HOPPER, uniform(HOPPER), 2000, seed=0).actions
    np.testing.assert_allclose(actions.mean(0), 0, atol=0.06)
    np.testing.assert_allclose(actions.var(0), 1 / 3, atol=0.03)


def test_an_episode_that_reaches_the_horizon_times_out() -> None:
    rows = generate(ROBOTS["halfcheetah"], uniform(ROBOTS["halfcheetah"]), 2500, seed=0)
    np.testing.assert_array_equal(np.flatnonzero(rows.timeouts), [999, 1999])
    assert not rows.terminals.any()


def test_actions_have_the_actors_mean_and_spread() -> None:
    mean, log_std = np.array([0.5, 0.0, -0.3]), np.array([-1.0, -2.0, -3.0])
    layer = {"kernel": np.zeros((11, 6), np.float32), "bias": np.concatenate([mean, log_std]).astype(np.float32)}
    actions = generate(HOPPER, stochastic({"MLP_0": {"Dense_0": layer}}), 2000, seed=0).actions
    before = np.arctanh(actions)
    np.testing.assert_allclose(before.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(before.std(0), np.exp(log_std), rtol=0.06)


def test_returns_are_those_of_the_first_episodes() -> None:
    returns = rollout_returns(HOPPER, uniform(HOPPER), 5, seed=2)
    rows = generate(HOPPER, uniform(HOPPER), 1000, seed=2)
    stops = episode_ends(rows)[:5] + 1
    np.testing.assert_allclose(returns, [part.sum() for part in np.split(rows.rewards, stops)[:5]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "level"), [("hopper", 44.3), ("walker2d", 62.1), ("halfcheetah", 40.7)])
def test_d4rls_own_policies_reach_the_level_of_d4rls_data(name: str, level: float) -> None:
    behavior = load_behaviors(ROBOTS[name]).medium_behavior
    scores = ROBOTS[name].normalized_score(rollout_returns(ROBOTS[name], behavior, 100, seed=0))
    error = scores.std(ddof=1) / np.sqrt(len(scores))
    # D4RL's own level is usually quoted to a tenth of a point.
    assert abs(scores.mean() - level) < 2 * error + 0.5
