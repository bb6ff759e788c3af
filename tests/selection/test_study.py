"""Whole choices among tiny runs: estimates, records, resuming, the command."""

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.selection import study as study_module
from offline_mbrl.selection.candidates import Policies, labels, open_policies, stored_returns
from offline_mbrl.selection.estimates import model_values, start_values, td_errors
from offline_mbrl.selection.pool import pooled_scores
from offline_mbrl.selection.study import FILE, Settings, select, settings_of
from offline_mbrl.selection.truth import Discounting, worth
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_robot, get_task
from offline_mbrl.training.job import Paths, make_job
from offline_mbrl.training.opening import open_run
from offline_mbrl.training.run import run_job
from offline_mbrl.training.system import make_system
from offline_mbrl.types import Transition
from tests.model_error.worlds import ROBOT, SYSTEM, world

pytestmark = pytest.mark.medium

MODEL = {"dynamics.hidden": [8], "dynamics.weight_decay": [0, 0], "dynamics.max_epochs": 1, "dynamics.members": 2}
MODEL |= {"dynamics.elites": 1}
FQE = {"steps": 20, "hidden": (8,), "batch_size": 16}


def small(**changes: Any) -> Settings:
    return settings_of(FQE, "ens_std", **{"starts": 3, "horizon": 3, "episodes": 2, "td_rows": 50} | changes)


def train(folder: Path, algorithm: str, seeds: tuple[int, ...] = (0,), size: int = 300, **overrides: Any) -> Path:
    data: dict[str, Any] = {"source": "synthetic", "size": size, "evaluate_every": 10, "episodes": 2, "seeds": seeds}
    settings = {"hidden": (8,), "batch_size": 16} | overrides
    job = make_job(algorithm, "hopper-medium", steps=20, overrides=settings, **data)
    run_job(job, folder, Paths(cache=folder.parent / "cache"))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder / "bc", "bc")
    train(folder / "td3", "td3_bc", seeds=(0, 1))
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(trained / name, tmp_path / name)) for name in ("bc", "td3")]


def test_policies_are_estimated_once_and_kept_beside_their_scores(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(cache=tmp_path / "cache")
    bc, td3 = select(runs, small(), MODEL, paths)
    assert [one["seed"] for one in td3["candidates"]] == [0, 1]
    assert set(td3["candidates"][0]["estimates"]) == {"fqe", "critics", "td_error", "model", "model_penalized"}
    assert set(bc["candidates"][0]["estimates"]) == {"fqe", "model", "model_penalized"}  # it has no critics
    penalized = td3["candidates"][0]["estimates"]
    assert penalized["model_penalized"] < penalized["model"]
    assert len(bc["candidates"][0]["returns"]) == 2

    def fail(*args: object) -> None:
        raise AssertionError("estimated again")

    monkeypatch.setattr(study_module, "_estimate", fail)
    assert select(runs, small(), MODEL, paths) == [bc, td3]
    with pytest.raises(AssertionError, match="estimated again"):
        select(runs, small(horizon=4), MODEL, paths)
    (runs[1] / FILE).unlink()
    with pytest.raises(AssertionError, match="estimated again"):
        select(runs, small(), MODEL, paths)


def test_runs_on_other_data_are_not_compared(runs: list[Path], tmp_path: Path) -> None:
    other = train(tmp_path / "other", "bc", size=200)
    with pytest.raises(UserError, match="different data"):
        select([*runs, other], small(), {}, Paths(cache=tmp_path / "cache"))


def test_the_command_prints_and_writes_what_it_found(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from offline_mbrl.cli import app

    out, sizes = tmp_path / "out", ["--fqe-steps", "20", "--fqe-hidden", "8", "--starts", "3", "--episodes", "2"]
    flags = [*sizes, "--estimators", "fqe", "critics", "--pulls", "9", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["offline-mbrl", "select", *map(str, runs), *flags])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    assert {path.name for path in out.iterdir()} == {"scores.json", "table.md", "selection.png"}
    assert [one["estimator"] for one in records.read_json(out / "scores.json")["scores"]] == [
        "fqe",
        "critics",
        "td_error",
    ]
    assert (out / "table.md").read_text() in capsys.readouterr().out


def test_the_bandit_needs_no_estimates(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from offline_mbrl.cli import app

    flags = ["--estimators", "--pulls", "9", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["offline-mbrl", "select", *map(str, runs), *flags])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    assert "Estimators" not in capsys.readouterr().out
    assert len(pooled_scores(runs)) == 3
    assert not (runs[0] / FILE).exists()


def test_a_policys_worth_is_what_training_recorded_of_the_same_episodes(runs: list[Path], tmp_path: Path) -> None:
    (policies,) = open_policies(runs[1], Paths(cache=tmp_path / "cache"))
    found = worth(policies, episodes=3, discount=1.0, seed=5)
    np.testing.assert_allclose(found.discounted, found.returns)
    assert worth(policies, 3, 0.0, 5).discounted.shape == (2, 3)
    assert set(stored_returns(runs[1])) == {(seed, step) for seed in (0, 1) for step in (10, 20)}


def test_all_kept_checkpoints_of_a_run_in_progress_are_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    data: dict[str, Any] = {"source": "synthetic", "size": 300, "evaluate_every": 10, "episodes": 1, "seeds": (0,)}
    job = make_job("td3_bc", "hopper-medium", steps=30, overrides={"hidden": (8,), "batch_size": 16}, **data)
    from offline_mbrl.training import run as run_module

    class HaltError(Exception):
        pass

    def halt(*args: object) -> None:
        raise HaltError

    monkeypatch.setattr(run_module, "_conclude", halt)
    with pytest.raises(HaltError):
        run_job(job, folder, Paths(cache=tmp_path), save_every=0)
    monkeypatch.undo()
    found = open_policies(folder, Paths(cache=tmp_path))
    assert [policies.step for policies in found] == [10, 20]
    opened = open_run(job, folder, Paths(cache=tmp_path))
    first, last = (jax.tree.leaves(policies.state.actor.params)[0] for policies in found)
    np.testing.assert_array_equal(last, jax.tree.leaves(opened.state.actor.params)[0])
    assert not np.array_equal(first, last)


def test_critics_judge_an_observation_as_the_task_gives_it(runs: list[Path], tmp_path: Path) -> None:
    (policies,) = open_policies(runs[1], Paths(cache=tmp_path / "cache"))
    algorithm, state = policies.system.algorithm, jax.tree.map(lambda leaf: leaf[1], policies.state)
    assert algorithm.value is not None
    obs = jnp.full((2, 11), 0.3)
    by_hand = [algorithm.value(state, row, algorithm.act(state, row, jax.random.key(0), True)) for row in obs]
    found = start_values(policies, obs)
    assert found is not None
    assert found[1] == pytest.approx(float(np.mean(by_hand)), rel=1e-5)

    terminal = Transition(obs, jnp.zeros((2, 3)), jnp.array([1.0, 2.0]), jnp.zeros(2), obs)
    errors = td_errors(policies, terminal)
    assert errors is not None
    q = jnp.stack([algorithm.value(state, row, jnp.zeros(3)) for row in obs])
    assert errors[1] == pytest.approx(float(jnp.square(q - terminal.reward).mean()), rel=1e-4)


def test_the_models_value_is_that_of_the_true_system_where_the_model_is_perfect() -> None:
    system, starts = make_system("bc", get_task("halfcheetah-medium")), np.full((2, ROBOT.obs_dim), 0.1)
    job = make_job("bc", "halfcheetah-medium", source="synthetic")
    policies = Policies(Path(), job, system, 1, [0, 1], None, lambda obs: jnp.full((*obs.shape[:2], 6), 0.5))
    values, penalties = model_values(
        policies, world(std=0.0), jnp.asarray(starts, jnp.float32), 3, 0.9, "max_pair", jax.random.key(0)
    )
    obs, action, expected = starts[0], np.full(6, 0.5), 0.0
    for step in range(3):
        expected += 0.9**step * float(SYSTEM.reward_mean(obs, action))
        obs = SYSTEM.next_obs_mean(obs, action)
    np.testing.assert_allclose(values, [expected, expected], rtol=1e-5)
    np.testing.assert_array_equal(penalties, (0, 0))


def test_discounting_leaves_the_episodes_as_they_are() -> None:
    judge = Discounting(Simulator(get_robot("hopper"), 2), 0.5)
    judge.reset([1, 2])
    rewards = [judge.step(np.zeros((2, 3))).reward for _ in range(3)]
    np.testing.assert_allclose(judge.values, rewards[0] + rewards[1] / 2 + rewards[2] / 4)


def test_labels_name_what_differs() -> None:
    jobs = [{"algorithm": "bc", "config": {"a": 1}}] + [
        {"algorithm": "mopo", "config": {"a": 1, "b": value}} for value in (2, 3)
    ]
    assert labels(jobs) == ["bc", "mopo (b=2)", "mopo (b=3)"]


def test_an_unknown_penalty_is_named() -> None:
    with pytest.raises(UserError, match="ens_st"):
        settings_of(FQE, "ens_st")
