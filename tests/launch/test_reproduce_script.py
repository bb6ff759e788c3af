"""`experiments/reproduce.sh` on a CPU, at sizes that train nothing: every stage runs, over slices that cut them off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from offline_mbrl.launch.shipped import find_suite, plan_of
from offline_mbrl.storage.records import find_jobs, job_status

SCRIPT = Path(__file__).parents[2] / "experiments" / "reproduce.sh"
SUITES = {
    "bc": "evidence/bc",
    "mopo_twelve": "evidence/mopo_twelve",
    "model_free": "evidence/model_free",
    "penalties": "mopo/penalties",
    "variants": "combo/variants",
    "field": "field/scores",
}
LATER = 75


def call(out: Path, **environment: object) -> "subprocess.CompletedProcess[str]":
    """One slice of the script."""
    folder = Path(sys.executable).parent
    given = {"OUT": out, "SCALE": "smoke", "DEVICE": "cpu", "RUN": folder / "offline-mbrl", "PYTHON": sys.executable}
    variables = {name: str(value) for name, value in (given | environment).items()}
    command = ["sh", str(SCRIPT)]
    return subprocess.run(command, env=os.environ | variables, text=True, capture_output=True, check=False)


def test_a_slice_without_time_begins_nothing_and_says_what_is_next(tmp_path: Path) -> None:
    ended = call(tmp_path / "out", SLICE=0)
    assert (ended.returncode, ended.stdout) == (LATER, "next: doctor; give the same command again\n")


def test_a_stage_that_fails_is_named_and_ends_nothing(tmp_path: Path) -> None:
    ended = call(tmp_path / "out", RUN="false", PYTHON="false")
    stages = ["doctor", "throughput-1", "throughput-4", *SUITES]
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"failed: {' '.join(stages)}"
    assert list((tmp_path / "out").glob("*.done")) == []


@pytest.mark.slow
def test_slices_add_up_to_every_stage(tmp_path: Path) -> None:
    codes = []
    for _ in range(60):
        codes.append((ended := call(tmp_path / "out", SLICE=90)).returncode)
        if ended.returncode != LATER:
            break
    assert codes[-1] == 0, ended.stderr
    assert LATER in codes
    assert "verdict" in ended.stdout
    for stage, suite in SUITES.items():
        folders = find_jobs([tmp_path / "out" / stage])
        assert [job_status(folder) for folder in folders] == ["finished"] * len(plan_of(find_suite(suite, "smoke"))[1])
