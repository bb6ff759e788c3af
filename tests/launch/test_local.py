"""Sweeps in real subprocesses, on closed-form data."""

import os
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch import local
from offline_mbrl.launch.local import Slot, make_slots, run_jobs
from offline_mbrl.storage import records
from offline_mbrl.training.job import Job, Paths, make_job


def job(seed: int = 0, **changes: object) -> Job:
    overrides = {"hidden": (8, 8), "batch_size": 16}
    settings: dict[str, Any] = {"source": "synthetic", "size": 300, "evaluate_every": 10, "episodes": 1}
    return make_job("bc", "hopper-medium", steps=20, overrides=overrides, **settings | {"seeds": (seed,)} | changes)


def test_slots_are_gpus_or_shares_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert make_slots(1, ()) == [Slot()]
    assert make_slots(2, ()) == [Slot(cores="0,2"), Slot(cores="1,3")]
    assert make_slots(1, ("0", "3")) == [Slot(gpu="0"), Slot(gpu="3")]
    with pytest.raises(UserError, match="5 jobs at once need as many cores, and there are 4; lower --parallel"):
        make_slots(5, ())


@pytest.mark.medium
def test_a_sweep_passes_over_a_failed_job_and_skips_finished_ones(tmp_path: Path) -> None:
    broken = job(1, source="d4rl", size=None)
    grid, paths = [broken, job(0)], Paths(cache=tmp_path / "cache")
    first = run_jobs(grid, tmp_path / "out", paths, [Slot()])
    assert first[0].problem is not None
    assert first[0].problem.startswith("failed: ")
    assert "\n" not in first[0].problem
    assert first[1].problem is None
    assert records.job_status(first[1].folder) == "finished"
    scores = (first[1].folder / records.SCORES).read_bytes()
    second = run_jobs(grid, tmp_path / "out", paths, [Slot()])
    assert [outcome.skipped for outcome in second] == [False, True]
    assert (second[1].folder / records.SCORES).read_bytes() == scores


def test_a_process_killed_by_a_signal_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = iter([-9, -9, 0])
    attempts: list[Path] = []

    def start(folders: list[Path], *args: object) -> int:
        (folder,) = folders
        attempts.append(folder)
        code = next(codes)
        if code == 0:
            records.write_json(folder / records.DONE, {})
        return code

    monkeypatch.setattr(local, "_start", start)
    (outcome,) = run_jobs([job()], tmp_path, Paths(), [Slot()])
    assert outcome.problem is None
    assert len(attempts) == 3


def test_a_job_that_is_always_killed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_start", lambda *args: -9)
    (outcome,) = run_jobs([job()], tmp_path, Paths(), [Slot()])
    assert outcome.problem == "stopped by signal 9"
