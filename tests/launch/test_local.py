"""Sweeps in real subprocesses, on closed-form data."""

import os
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch.local import Slot, local_executor, make_slots
from offline_mbrl.launch.sweep import run_jobs
from offline_mbrl.storage import records
from offline_mbrl.training.job import Paths
from tests.launch.runs import job


def test_slots_are_gpus_or_shares_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert make_slots(1, ()) == [Slot()]
    assert make_slots(2, ()) == [Slot(cores="0,2"), Slot(cores="1,3")]
    assert make_slots(1, ("0", "3")) == [Slot(gpu="0"), Slot(gpu="3")]
    with pytest.raises(UserError, match="5 jobs at once need as many cores, and there are 4; lower --parallel"):
        make_slots(5, ())
    with pytest.raises(UserError, match="GPU 1 is named twice"):
        make_slots(1, ("1", "0", "1"))


@pytest.mark.medium
def test_a_sweep_passes_over_a_failed_job_and_skips_finished_ones(tmp_path: Path) -> None:
    broken = job(1, source="d4rl", size=None)
    grid, paths = [broken, job(0)], Paths(cache=tmp_path / "cache")
    first = run_jobs(grid, tmp_path / "out", paths, local_executor([Slot()]))
    assert first[0].problem is not None
    assert first[0].problem.startswith("failed: ")
    assert "\n" not in first[0].problem
    assert first[1].problem is None
    assert records.job_status(first[1].folder) == "finished"
    scores = (first[1].folder / records.SCORES).read_bytes()
    second = run_jobs(grid, tmp_path / "out", paths, local_executor([Slot()]))
    assert [outcome.skipped for outcome in second] == [False, True]
    assert (second[1].folder / records.SCORES).read_bytes() == scores
