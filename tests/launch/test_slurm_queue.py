import pickle
import subprocess
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.launch import slurm_queue
from offline_mbrl.launch.on_slurm import SlurmOptions, _parameters
from offline_mbrl.launch.slurm_queue import Watched, _look, queue_states
from offline_mbrl.launch.task import Ended


def watched(folder: Path) -> Watched:
    return Watched(folder / "result.pkl", Future())


def squeue(said: str, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Has Slurm's commands say something; what was asked of them."""
    asked: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_states_are_read_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    squeue("12_0|RUNNING|None\n12_1|PENDING|Resources\n13|PENDING|PartitionTimeLimit\n", monkeypatch)
    assert queue_states() == {"12_0": "RUNNING", "12_1": "PENDING", "13": "PartitionTimeLimit"}


def test_a_result_counts_whatever_the_queue_says(tmp_path: Path) -> None:
    job = watched(tmp_path)
    job.result.write_bytes(pickle.dumps(("success", Ended(1))))
    assert _look("7", job, None) == Ended(1)
    job.result.write_bytes(pickle.dumps(("error", "Traceback ...\nKeyError: 'weight'")))
    assert _look("7", job, {}) == Ended(70, note="a fault in the Slurm job: KeyError: 'weight'")


def test_a_job_that_runs_or_waits_or_is_not_known_about_is_waited_for(tmp_path: Path) -> None:
    for states in ({"7": "RUNNING"}, {"7": "PENDING"}, {"7": "COMPLETING"}, None):
        assert _look("7", watched(tmp_path), states) is None


def test_a_job_that_left_the_queue_is_lost_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = watched(tmp_path)
    assert _look("7_1", job, {"7_1": "NODE_FAIL"}) is None  # it may be requeued, or its result be on the way
    monkeypatch.setattr(slurm_queue, "GRACE_SECONDS", 0.0)
    ended = _look("7_1", job, {"7_1": "NODE_FAIL"})
    assert ended == Ended(None, note="it left Slurm's queue without a result (NODE_FAIL)")
    assert _look("7_1", job, {"7_1": "OUT_OF_MEMORY"}) == Ended(
        None, memory=True, note="it left Slurm's queue without a result (OUT_OF_MEMORY)"
    )
    assert job.over_since is not None
    assert _look("7_1", job, {"7_1": "PENDING"}) is None
    assert job.over_since is None


def test_waiting_members_of_an_array_that_was_cancelled_stand_under_its_number(tmp_path: Path) -> None:
    ended = _look("7_1", watched(tmp_path), {"7": "CANCELLED"})
    assert ended == Ended(None, cancelled=True, note="cancelled in Slurm")


def test_a_job_that_would_wait_forever_is_given_up_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = squeue("", monkeypatch)
    ended = _look("7", watched(tmp_path), {"7": "PartitionTimeLimit"})
    assert ended is not None
    assert (ended.code, "PartitionTimeLimit" in ended.note) == (2, True)
    assert asked == [["scancel", "7"]]


def test_options_that_submitit_does_not_know_go_to_sbatch() -> None:
    options = SlurmOptions("gpu", None, "a100", 30, (("gres", "gpu:1"), ("signal-delay-s", 300), ("nice", 10)))
    known = dict.fromkeys(("gres", "signal_delay_s", "partition", "constraint", "time", "array_parallelism"))
    assert _parameters(options, 8, known) == {
        "partition": "gpu",
        "constraint": "a100",
        "time": 30,
        "job_name": "offline-mbrl",
        "array_parallelism": 8,
        "gres": "gpu:1",
        "signal_delay_s": 300,
        "additional_parameters": {"requeue": True, "nice": 10},
    }
