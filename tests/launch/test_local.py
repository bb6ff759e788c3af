"""Sweeps in real subprocesses, on closed-form data."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch import local
from offline_mbrl.launch.local import Options, Slot, make_slots, run_jobs
from offline_mbrl.stopping import Stopped, stop_requested
from offline_mbrl.storage import records
from offline_mbrl.storage.lock import hold_run
from offline_mbrl.training.job import Paths
from tests.launch.runs import job


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "code", [lambda number: 128 + number, lambda number: -number], ids=["at a safe point", "loading"]
)
def test_a_worker_that_was_asked_to_stop_stops_the_sweep_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: Callable[[int], int]
) -> None:
    attempts: list[Path] = []

    def start(folder: Path, *args: object) -> int:
        attempts.append(folder)
        return code(number)

    monkeypatch.setattr(local, "_start", start)
    with pytest.raises(Stopped) as caught:
        run_jobs([job(seed) for seed in range(3)], tmp_path, Paths(), [Slot()], Options(lanes=False))
    assert caught.value.exit_code == 128 + number
    assert len(attempts) == 1
    assert stop_requested() is None


def test_the_same_job_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"job {job().name} is named twice"):
        run_jobs([job(), job(1), job()], tmp_path / "out", Paths(), [Slot()])
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="GPU 1 is named twice"):
        make_slots(1, ("1", "0", "1"))


def test_a_job_that_another_process_runs_is_passed_over_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_start", lambda *args: pytest.fail("it was started"))
    with hold_run(tmp_path / job().name):
        before = sorted(path.name for path in (tmp_path / job().name).iterdir())
        (outcome,) = run_jobs([job()], tmp_path, Paths(), [Slot()])
        assert f"is in use by process {os.getpid()} on" in str(outcome.problem)
        assert sorted(path.name for path in (tmp_path / job().name).iterdir()) == before


def test_one_jobs_trouble_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(folders: Sequence[Path], *args: object) -> int:
        (folder,) = folders
        if folder.name == job(0).name:
            raise OSError(28, "No space left on device", str(folder / "log.txt"))
        records.write_json(folder / records.DONE, {})
        return 0

    monkeypatch.setattr(local, "_start", start)
    broken, sound = run_jobs([job(0), job(1)], tmp_path, Paths(), [Slot()], Options(lanes=False))
    assert str(broken.problem).startswith(f"no space left on device: {broken.folder / 'log.txt'}; make room there")
    assert sound.problem is None


def test_a_terminal_that_closes_between_jobs_stops_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[Path] = []

    def start(folder: Path, *args: object) -> int:
        attempts.append(folder)
        return 0

    def closed(*args: object, **options: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(local, "_start", start)
    monkeypatch.setattr("rich.console.Console.print", closed)
    with pytest.raises(BrokenPipeError):
        run_jobs([job(seed) for seed in range(20)], tmp_path, Paths(), [Slot()], Options(lanes=False))
    assert len(attempts) < 20
