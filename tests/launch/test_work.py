import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch import work as work_module
from offline_mbrl.launch.work import work
from offline_mbrl.storage import records
from offline_mbrl.storage.lock import RUN_LOCK, InUseError, hold_run, holder
from offline_mbrl.training.job import Job, Paths, claim
from tests.faults import full_disk
from tests.launch.runs import COMMAND, ENVIRONMENT, job, results

DIVERGED = {"seed": 0, "step": 20, "quantity": "actor_loss", "value": "nan", "last_good": None}


def pretend(run: Callable[[Job, Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts `run` in the place of the training."""

    def run_jobs(jobs: Sequence[tuple[Job, Path]], paths: Paths, save_every: float, parts: int) -> None:
        for mine, out in jobs:
            claim(out, mine)
            run(mine, out)

    monkeypatch.setattr(work_module, "run_jobs", run_jobs)


def test_a_run_whose_seed_diverged_says_so_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = [(job(seeds=(0, 1)), tmp_path / "run")]
    pretend(lambda job, out: records.write_json(out / records.DIVERGED, [DIVERGED]), monkeypatch)
    assert work(started, Paths()) == 1
    pretend(lambda job, out: None, monkeypatch)  # as a finished run returns
    assert work(started, Paths()) == 1
    line = "warning: bc on hopper-medium: seed 0 diverged by step 20: actor_loss = nan; no checkpoint before it"
    assert capsys.readouterr().err.splitlines() == [line, line]


def test_a_run_that_lost_every_seed_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(lambda job, out: records.write_json(out / records.DIVERGED, [DIVERGED]), monkeypatch)
    assert work([(job(), tmp_path / "run")], Paths()) == 2
    assert (tmp_path / "run" / records.FAILED).read_text().startswith("every seed diverged: seed 0 diverged by step 20")


def test_a_failure_is_one_line_on_stderr_and_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(job: Job, out: Path) -> None:
        raise UserError("the data are gone;\nfetch them")

    pretend(fail, monkeypatch)
    assert work([(job(), tmp_path / "run")], Paths()) == 2
    assert capsys.readouterr().err == "error: the data are gone; fetch them\n"
    assert (tmp_path / "run" / records.FAILED).read_text() == "the data are gone; fetch them\n"


def test_a_fault_of_the_program_leaves_its_traceback_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(job: Job, out: Path) -> None:
        raise KeyError("weight")

    pretend(fail, monkeypatch)
    assert work([(job(), tmp_path / "run")], Paths()) == 70
    (crash,) = (tmp_path / "run").glob("offline-mbrl-crash-*.txt")
    error = capsys.readouterr().err
    assert error.startswith("error: a fault of the program, KeyError: 'weight'; please report it with ")
    assert (str(crash) in error, len(error.splitlines())) == (True, 1)
    assert "in fail" in crash.read_text()


def test_a_folder_of_another_run_gets_no_mark(tmp_path: Path) -> None:
    out = tmp_path / "run"
    claim(out, job(1))
    before = (out / records.JOB).read_bytes()
    assert work([(job(0), out)], Paths()) == 2
    assert records.job_status(out) == "unfinished"
    assert (out / records.JOB).read_bytes() == before


def test_a_damaged_job_file_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / records.JOB).write_text('{"id":')
    assert work([(job(), tmp_path)], Paths()) == 2
    error = capsys.readouterr().err
    assert error.count("job.json is damaged") == 1
    assert len(error.splitlines()) == 1


def test_a_folder_in_use_is_refused_and_gets_no_mark(tmp_path: Path) -> None:
    with hold_run(tmp_path / "run"):
        with pytest.raises(InUseError, match=f"in use by process {os.getpid()} on"):
            work([(job(), tmp_path / "run")], Paths())
        assert not (tmp_path / "run" / records.FAILED).exists()


def test_a_worker_that_native_code_would_crash_at_its_end_keeps_its_exit_code(tmp_path: Path) -> None:
    crash = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGSEGV)"
    code = f"{crash}; from offline_mbrl.launch.worker import main; main()"
    ended = subprocess.run(
        [*COMMAND[:-1], code, str(tmp_path / "nothing")], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr


@pytest.mark.medium
def test_the_same_training_twice_at_once_is_refused_and_the_first_one_undisturbed(tmp_path: Path) -> None:
    mine, out = job(steps=2000), tmp_path / "run"
    claim(out, mine)
    command = [*COMMAND[:-1], "from offline_mbrl.launch.worker import main; main()", str(out)]
    said = tmp_path / "said"
    with said.open("wb") as stream:
        first = subprocess.Popen(command, env=ENVIRONMENT | {"PYTHONFAULTHANDLER": "1"}, stderr=stream)
    try:
        end = time.monotonic() + 300
        while str(first.pid) not in holder(out / RUN_LOCK):
            assert first.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        second = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert second.stderr.startswith(f"error: {out} is in use by process {first.pid} on ")
        assert len(second.stderr.splitlines()) == 1
        first.send_signal(signal.SIGTERM)
        assert first.wait() == 143, said.read_text()
    finally:
        first.kill()
        first.wait()
    found = [record["step"] for record in records.read_records(out / records.SCORES)]
    assert found == [*range(10, 10 * len(found) + 1, 10)]


def fill_up_and_go_on(call: int, whole: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose disk is full from writing call number `call` on, and the same command when there is room."""
    with full_disk(call):
        code = work([(job(), folder)], Paths())
    error = capsys.readouterr().err.splitlines()
    assert code == 2
    assert [line for line in error if "error" in line] == error[-1:]
    assert "no space left on device" in error[-1], error
    assert work([(job(), folder)], Paths()) == 0
    assert results(folder) == results(whole)
    assert [path.name for path in folder.rglob("*") if "partial" in path.name or "tmp" in path.name] == []


def whole_run(tmp_path: Path) -> tuple[Path, int]:
    """A run that nothing disturbed, and how many calls of it write, when what runs share has been written."""
    assert work([(job(), tmp_path / "first")], Paths()) == 0
    with full_disk(None) as disk:
        assert work([(job(), tmp_path / "whole")], Paths()) == 0
    return tmp_path / "whole", disk.calls


@pytest.mark.medium
def test_a_run_on_a_disk_that_fills_up_goes_on_bit_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, calls = whole_run(tmp_path)
    for place in (1, 2, 3):
        fill_up_and_go_on(calls * place // 4, whole, tmp_path / str(place), capsys)


@pytest.mark.slow
def test_a_run_on_a_disk_that_fills_up_at_any_call_goes_on_bit_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, calls = whole_run(tmp_path)
    for call in range(calls):
        fill_up_and_go_on(call, whole, tmp_path / str(call), capsys)
