"""Whole jobs on closed-form data, scored in MuJoCo: records, resuming, divergence, folders that must not be touched."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms import registry
from offline_mbrl.algorithms.algorithm import Algorithm, Definition
from offline_mbrl.algorithms.systems.bc import BCState
from offline_mbrl.errors import UserError
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.stopping import Stopped, heed_signals, request_stop
from offline_mbrl.storage import records
from offline_mbrl.training import run as run_module
from offline_mbrl.training import system as system_module
from offline_mbrl.training.experiment import lane_keys
from offline_mbrl.training.job import Job, Paths, claim, make_job
from offline_mbrl.training.opening import Opened, open_run
from offline_mbrl.training.run import run_job
from offline_mbrl.training.saving import CHECKPOINTS, FINAL
from offline_mbrl.types import Array, Data, Key, Metrics
from tests.training.tiny import TINY_BC, TINY_MOPO

pytestmark = pytest.mark.medium


def make(algorithm: str = "bc", steps: int = 40, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Job:
    overrides = {"bc": TINY_BC, "mopo": TINY_MOPO}[algorithm]
    settings: dict[str, Any] = {"source": "synthetic", "size": 500, "evaluate_every": 10, "episodes": 2, "seeds": seeds}
    return make_job(algorithm, "hopper-medium", steps=steps, overrides=overrides, **settings | changes)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (records.SCORES, records.METRICS)}


def last_state(job: Job, folder: Path, paths: Paths) -> list[np.ndarray]:
    opened = open_run(job, folder, paths)
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(opened.state)
    ]


def test_a_job_leaves_all_there_is_to_know(tmp_path: Path) -> None:
    job, out = make("mopo"), tmp_path / "run"
    assert run_job(job, out, Paths(cache=tmp_path / "cache")) == []
    scores = records.read_records(out / records.SCORES)
    assert [(record["seed"], record["step"]) for record in scores] == [(s, t) for t in (10, 20, 30, 40) for s in (0, 1)]
    assert all(len(record["returns"]) == 2 for record in scores)
    metrics = records.read_records(out / records.METRICS)
    assert {"critic_loss", "q", "alpha", "entropy", "uncertainty"} <= set(metrics[0])
    environment = json.loads((out / records.ENVIRONMENT).read_text())
    assert environment["dataset"]["source"] == "synthetic"
    assert set(environment["seconds"]) == {"data", "fit", "compile", "train", "evaluate", "checkpoint"}
    assert environment["seconds"]["compile"] > 0
    assert environment["peak_memory_bytes"] > 10**7
    assert environment["lanes"] == {"own": 2, "of": 2}
    assert {"command", "host", "gpu", "xla_flags"} <= set(environment)
    assert environment["start"] <= environment["end"]
    assert records.job_status(out) == "finished"
    before = files(out)
    assert run_job(job, out, Paths(cache=tmp_path / "cache")) == []  # finished jobs are left alone
    assert files(out) == before


def test_the_same_command_gives_the_same_scores(tmp_path: Path) -> None:
    for name in ("first", "second"):
        run_job(make(), tmp_path / name, Paths(cache=tmp_path / "cache"))
    assert files(tmp_path / "first") == files(tmp_path / "second")


def test_a_configuration_without_a_model_fits_none(tmp_path: Path) -> None:
    small = {"hidden": (8, 8), "batch_size": 8, "warm_steps": 4}
    settings: dict[str, Any] = {"source": "synthetic", "size": 500, "evaluate_every": 10, "episodes": 1}
    job = make_job("armor", "hopper-medium", preset="atac", steps=10, seeds=(0,), overrides=small, **settings)
    opened = open_run(job, tmp_path / "run", Paths(cache=tmp_path / "cache"))
    assert opened.state.world is None
    assert not (tmp_path / "cache" / "dynamics").exists()


def test_every_way_of_acting_is_scored_from_one_run(tmp_path: Path) -> None:
    small = {"hidden": (8, 8), "batch_size": 8, "subsets": 4, "ascent_steps": 1, "search_steps": 1}
    settings: dict[str, Any] = {"source": "synthetic", "size": 500, "evaluate_every": 10, "episodes": 1}
    job = make_job("drop", "hopper-medium", steps=10, seeds=(0,), overrides=small, **settings)
    run_job(job, tmp_path / "run", Paths(cache=tmp_path / "cache"))
    scores = records.read_records(tmp_path / "run" / records.SCORES)
    assert [record["variant"] for record in scores] == ["best", "grad", "best-ada", "grad-ada"]
    assert {(record["seed"], record["step"]) for record in scores} == {(0, 10)}


@pytest.mark.parametrize("algorithm", ["bc", pytest.param("mopo", marks=pytest.mark.slow)])
def test_a_killed_run_ends_bit_equal_to_one_that_never_stopped(tmp_path: Path, algorithm: str) -> None:
    job, paths = make(algorithm, steps=200), Paths(cache=tmp_path / "cache")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_job(job, whole, paths)
    claim(killed, job)
    command = [sys.executable, "-m", "offline_mbrl.launch.worker", str(killed), "--cache-dir", str(paths.cache)]
    command += ["--checkpoint-every", "0"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(records.read_records(killed / records.SCORES)) >= 6, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert records.job_status(killed) == "unfinished"
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert files(killed) == files(whole)
    for left, right in zip(last_state(job, killed, paths), last_state(job, whole, paths), strict=True):
        np.testing.assert_array_equal(left, right)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"the run ended early with code {process.returncode}"
        assert time.monotonic() < end, "the run gave no record in time"
        time.sleep(0.01)


def exploding(seed_to_break: Callable[[Key], Array]) -> Definition:
    """Behavior cloning whose loss becomes NaN on the chosen seeds once the optimizer has taken 25 steps."""
    base = registry.definitions()["bc"]

    def build(problem: Any, config: Any, steps: int) -> Algorithm:
        algorithm = base.build(problem, config, steps)

        def init(key: Key, data: Data, pretrained: Any) -> tuple[BCState, Array, Array]:
            return algorithm.init(key, data, pretrained), jnp.zeros((), jnp.int32), seed_to_break(key)

        def update(state: Any, batch: Any, key: Key) -> tuple[Any, Metrics]:
            inner, count, broken = state
            inner, metrics = algorithm.update(inner, batch, key)
            bad = jnp.where(broken & (count >= 25), jnp.nan, 0.0)
            return (inner, count + 1, broken), metrics | {"actor_loss": metrics["actor_loss"] + bad}

        return Algorithm(
            init,
            lambda state, data, key: algorithm.sample(state[0], data, key),
            update,
            lambda state, obs, key, deterministic: algorithm.act(state[0], obs, key, deterministic),
        )

    return Definition("bc", base.title, base.paper, base.equation, base.config, build)


def first_init_key() -> Array:
    return jax.random.key_data(lane_keys((0,), "init"))[0]


def test_a_diverged_seed_is_reported_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zero = first_init_key()
    definition = exploding(lambda key: (jax.random.key_data(key) == zero).all())
    monkeypatch.setattr(system_module, "get_definition", lambda name: definition)
    out = tmp_path / "run"
    (diverged,) = run_job(make(), out, Paths(), save_every=0)
    assert str(diverged) == "seed 0 diverged by step 30: actor_loss = nan; last good checkpoint: diverged/20"
    assert (out / "diverged/20").is_dir()
    steps = {
        seed: [r["step"] for r in records.read_records(out / records.SCORES) if r["seed"] == seed] for seed in (0, 1)
    }
    assert steps == {0: [10, 20], 1: [10, 20, 30, 40]}
    assert records.diverged_seeds(out) == {0}
    assert records.job_status(out) == "finished"


def test_a_run_whose_every_seed_diverges_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = exploding(lambda key: jnp.asarray(True))
    monkeypatch.setattr(system_module, "get_definition", lambda name: definition)
    with pytest.raises(UserError, match="every seed diverged: seed 0 diverged by step 30"):
        run_job(make(), tmp_path / "run", Paths())
    assert records.job_status(tmp_path / "run") == "unfinished"


def leave_unfinished(job: Job, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ended just before its last step: its checkpoints are those of the two periods before."""
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_conclude", lambda *args: None)
        run_job(job, out, Paths(), save_every=0)
    assert records.job_status(out) == "unfinished"


def damage(checkpoint: Path) -> None:
    for file in checkpoint.rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[:50])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, out, whole = make(), tmp_path / "run", tmp_path / "whole"
    run_job(job, whole, Paths())
    leave_unfinished(job, out, monkeypatch)
    damage(out / CHECKPOINTS / "30")
    run_job(job, out, Paths())
    assert files(out) == files(whole)
    assert "going on from step 20, the checkpoint before it" in capsys.readouterr().err


def test_where_every_checkpoint_is_damaged_it_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, out = make(), tmp_path / "run"
    leave_unfinished(job, out, monkeypatch)
    for step in (20, 30):
        damage(out / CHECKPOINTS / str(step))
    before = files(out)
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged") as caught:
        run_job(job, out, Paths())
    assert "\n" not in str(caught.value)
    assert files(out) == before


def test_a_finished_run_keeps_what_acting_needs_and_no_more(tmp_path: Path) -> None:
    job, out, paths = make("mopo"), tmp_path / "run", Paths(cache=tmp_path / "cache")
    run_job(job, out, paths, save_every=0)
    assert not (out / CHECKPOINTS).exists()
    assert [path.name for path in (out / FINAL).iterdir() if path.name.isdigit()] == ["40"]
    opened = open_run(job, out, paths)
    assert opened.state.imagined.rows.reward.shape == (2, 1)
    assert opened.program.act(opened.state, jnp.zeros((2, 3, 11))).shape == (2, 3, 3)


def test_checkpoints_are_made_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_conclude", lambda *args: None)
        run_job(make(), tmp_path / "run", Paths(), save_every=3600)
    assert not [path for path in (tmp_path / "run" / CHECKPOINTS).iterdir() if path.name.isdigit()]


def test_a_stop_is_heeded_after_a_checkpoint_and_the_run_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, out, whole = make(), tmp_path / "run", tmp_path / "whole"
    run_job(job, whole, Paths())
    score = run_module._score

    def stop_in_the_second_period(opened: Opened, simulator: Simulator, deployed: Any, step: int) -> Any:
        if step == 20:
            request_stop(signal.SIGTERM)
        return score(opened, simulator, deployed, step)

    with monkeypatch.context() as patch, heed_signals():
        patch.setattr(run_module, "_score", stop_in_the_second_period)
        with pytest.raises(Stopped):
            run_job(job, out, Paths())
    assert records.job_status(out) == "unfinished"
    assert max(record["step"] for record in records.read_records(out / records.SCORES)) == 20
    run_job(job, out, Paths())
    assert files(out) == files(whole)


def test_other_data_than_the_run_began_with_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, out = make(), tmp_path / "run"
    leave_unfinished(job, out, monkeypatch)
    environment = records.read_json(out / records.ENVIRONMENT)
    environment["dataset"]["fingerprint"] = "0" * 64
    records.write_json(out / records.ENVIRONMENT, environment)
    with pytest.raises(UserError, match="begun on other data"):
        run_job(job, out, Paths())


def test_evaluation_must_fall_on_rollouts(tmp_path: Path) -> None:
    job = make("mopo", evaluate_every=5)
    with pytest.raises(UserError, match="must be a multiple of the rollout interval, 10 steps"):
        run_job(job, tmp_path / "run", Paths(cache=tmp_path / "cache"))
