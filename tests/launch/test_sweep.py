"""What a sweep does with its tasks, on an executor whose workers the test plays."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch.executor import Executor
from offline_mbrl.launch.retries import RETRIES
from offline_mbrl.launch.sweep import run_jobs
from offline_mbrl.launch.task import Call, Ended, Options
from offline_mbrl.stopping import Stopped, stop_requested
from offline_mbrl.storage import records
from offline_mbrl.storage.lock import hold_run
from offline_mbrl.training.job import Paths, make_job
from tests.launch.fakes import Play, fail, fake, finish
from tests.launch.runs import job
from tests.training.tiny import TINY_MOPO

APART = Options(lanes=False)


def in_order(*ends: Ended | Play) -> tuple[Executor, list[Call]]:
    """An executor whose calls end as `ends` in turn, and the calls that it was given."""
    rest, calls = iter(ends), list[Call]()

    def play(call: Call) -> Ended:
        calls.append(call)
        end = next(rest)
        return end if isinstance(end, Ended) else end(call)

    return fake(play), calls


def test_work_that_was_cut_off_is_tried_again(tmp_path: Path) -> None:
    executor, calls = in_order(Ended(-9), Ended(None, note="its machine was lost"), finish)
    (outcome,) = run_jobs([job()], tmp_path, Paths(), executor)
    assert outcome.problem is None
    assert calls == [calls[0]] * 3


def test_work_that_is_always_cut_off_is_reported(tmp_path: Path) -> None:
    executor, calls = in_order(*[Ended(-9)] * (1 + RETRIES))
    (outcome,) = run_jobs([job()], tmp_path, Paths(), executor)
    assert outcome.problem == "stopped by signal 9"
    assert len(calls) == 1 + RETRIES


def test_a_failure_of_the_job_itself_is_not_tried_again(tmp_path: Path) -> None:
    def play(call: Call) -> Ended:
        fail(call.folders[0], "the data are gone")
        return Ended(2)

    executor, calls = in_order(play)
    (outcome,) = run_jobs([job()], tmp_path, Paths(), executor)
    assert outcome.problem == "failed: the data are gone"
    assert len(calls) == 1


def test_a_job_that_somebody_cancelled_is_not_tried_again(tmp_path: Path) -> None:
    executor, _ = in_order(Ended(None, cancelled=True, note="cancelled in Slurm"))
    (outcome,) = run_jobs([job()], tmp_path, Paths(), executor)
    assert outcome.problem == "cancelled in Slurm"


def out_of_gpu_memory(call: Call) -> Ended:
    fail(call.folders[0], "out of memory (RESOURCE_EXHAUSTED); ask for less")
    return Ended(2)


@pytest.mark.parametrize("first", [Ended(-9, memory=True), out_of_gpu_memory], ids=["by the kernel", "on the GPU"])
def test_work_without_enough_memory_is_tried_once_with_half_the_lanes(tmp_path: Path, first: Ended | Play) -> None:
    executor, calls = in_order(first, finish)
    (outcome,) = run_jobs([job(seeds=(0, 1, 2, 3))], tmp_path, Paths(), executor)
    assert outcome.problem is None
    assert "--parts" not in calls[0].arguments
    assert calls[1].arguments[-2:] == ("--parts", "2")


def test_work_without_enough_memory_for_half_the_lanes_has_failed_with_the_reason(tmp_path: Path) -> None:
    executor, calls = in_order(*[Ended(-9, memory=True)] * 2)
    (outcome,) = run_jobs([job(seeds=(0, 1))], tmp_path, Paths(), executor)
    reason = (
        "out of memory: the worker was killed for it, with half the lanes at a time too; give it a machine with more"
    )
    assert str(outcome.problem).startswith(f"failed: {reason}")
    assert (outcome.folder / records.FAILED).read_text().startswith(reason)
    assert len(calls) == 2


def test_one_lane_cannot_be_halved(tmp_path: Path) -> None:
    executor, calls = in_order(Ended(-9, memory=True))
    (outcome,) = run_jobs([job()], tmp_path, Paths(), executor)
    assert "with its only lane" in str(outcome.problem)
    assert len(calls) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "code", [lambda number: 128 + number, lambda number: -number], ids=["at a safe point", "loading"]
)
def test_a_worker_of_this_terminal_that_was_asked_to_stop_stops_the_sweep(
    tmp_path: Path, number: int, code: Callable[[int], int]
) -> None:
    executor, calls = in_order(Ended(code(number)))
    with pytest.raises(Stopped) as caught:
        run_jobs([job(seed) for seed in range(3)], tmp_path, Paths(), executor, APART)
    assert caught.value.exit_code == 128 + number
    assert len(calls) == 1
    assert stop_requested() is None


def test_a_worker_elsewhere_that_was_asked_to_stop_is_started_again(tmp_path: Path) -> None:
    ends = iter([lambda call: Ended(143), finish])
    (outcome,) = run_jobs([job()], tmp_path, Paths(), fake(lambda call: next(ends)(call), hears_signals=False))
    assert outcome.problem is None


def test_the_same_job_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"job {job().name} is named twice"):
        run_jobs([job(), job(1), job()], tmp_path / "out", Paths(), fake(finish))
    assert not (tmp_path / "out").exists()


def test_a_job_that_another_process_runs_is_passed_over_and_left_alone(tmp_path: Path) -> None:
    executor, calls = in_order()
    with hold_run(tmp_path / job().name):
        before = sorted(path.name for path in (tmp_path / job().name).iterdir())
        (outcome,) = run_jobs([job()], tmp_path, Paths(), executor)
        assert f"is in use by process {os.getpid()} on" in str(outcome.problem)
        assert sorted(path.name for path in (tmp_path / job().name).iterdir()) == before
    assert calls == []


def test_one_jobs_trouble_is_its_own(tmp_path: Path) -> None:
    def play(call: Call) -> Ended:
        if call.folders[0].name == job(0).name:
            raise OSError(28, "No space left on device", str(call.log))
        return finish(call)

    broken, sound = run_jobs([job(0), job(1)], tmp_path, Paths(), fake(play), APART)
    assert str(broken.problem).startswith(f"no space left on device: {broken.folder / 'log.txt'}; make room there")
    assert sound.problem is None


def test_a_terminal_that_closes_between_jobs_stops_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*args: object, **options: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    executor, calls = in_order(*[finish] * 20)
    monkeypatch.setattr("rich.console.Console.print", closed)
    with pytest.raises(BrokenPipeError):
        run_jobs([job(seed) for seed in range(20)], tmp_path, Paths(), executor, APART)
    assert len(calls) == 1


def test_finished_jobs_are_skipped_and_outcomes_come_in_the_order_of_the_suite(tmp_path: Path) -> None:
    jobs = [job(seed) for seed in range(3)]
    run_jobs(jobs[1:2], tmp_path, Paths(), fake(finish), APART)
    outcomes = run_jobs(jobs, tmp_path, Paths(), fake(finish), APART)
    assert [(outcome.job, outcome.skipped) for outcome in outcomes] == list(
        zip(jobs, (False, True, False), strict=True)
    )


def test_an_engine_that_queues_gets_all_that_waits_for_nothing_in_one_call(tmp_path: Path) -> None:
    batches: list[int] = []
    inner = fake(finish)

    def submit(calls):  # type: ignore[no-untyped-def]
        batches.append(len(calls))
        return inner.submit(calls)

    run_jobs([job(seed) for seed in range(5)], tmp_path, Paths(), Executor("fake", submit, 2, queues=True), APART)
    assert batches == [5]


def test_jobs_wait_for_the_fit_they_share_and_a_failed_fit_does_not_hold_them(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"source": "synthetic", "size": 300, "steps": 20, "evaluate_every": 10, "episodes": 1}
    jobs = [
        make_job("mopo", "hopper-medium", overrides=TINY_MOPO | {"hidden": [width]}, **settings) for width in (8, 9)
    ]

    def broken_fit(call: Call) -> Ended:
        assert call.arguments[-2:] == ("--fit", "dynamics")
        return Ended(2)

    executor, calls = in_order(broken_fit, finish, finish)
    outcomes = run_jobs(jobs, tmp_path, Paths(), executor)
    assert [outcome.problem for outcome in outcomes] == [None, None]
    assert [len(call.folders) for call in calls] == [1, 1, 1]
