"""Every system, killed again and again at random moments, ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.algorithms.registry import definitions
from offline_mbrl.conformance.small import COMMON, OWN, where_they_exist
from offline_mbrl.storage import records
from offline_mbrl.training.job import Job, Paths, claim, make_job
from offline_mbrl.training.run import run_job

pytestmark = pytest.mark.slow

KILLS = 3
PERIODS = 20
COMMAND = [sys.executable, "-m", "offline_mbrl.launch.worker", "--checkpoint-every", "0"]


def small_job(name: str) -> Job:
    """A run of the system that takes seconds, its fits included."""
    small = where_they_exist(definitions()[name].config, COMMON) | OWN.get(name, {})
    if "dynamics" in small:
        small |= {"dynamics": {**small["dynamics"], "max_epochs": 3}}
    settings: dict[str, Any] = {
        "source": "synthetic",
        "size": 500,
        "evaluate_every": 20,
        "episodes": 1,
        "seeds": (0, 1),
    }
    return make_job(name, "hopper-medium", steps=20 * PERIODS, overrides=small, **settings)


def results(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in (records.SCORES, records.METRICS)]


def kill_at(process: subprocess.Popen[bytes], folder: Path, lines: int, delay: float) -> None:
    """SIGKILL, `delay` seconds after the run has written so many scores; it may have ended by itself."""
    while process.poll() is None and len(records.read_records(folder / records.SCORES)) < lines:
        time.sleep(0.01)
    time.sleep(delay)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("name", sorted(definitions()))
def test_a_run_that_is_killed_at_random_ends_bit_equal(tmp_path: Path, name: str) -> None:
    job, chance = small_job(name), random.Random(name)
    whole, killed, cache = tmp_path / "whole", tmp_path / "killed", tmp_path / "cache"
    run_job(job, whole, Paths(cache=cache))
    claim(killed, job)
    command = [
        *COMMAND,
        str(killed),
        "--cache-dir",
        str(tmp_path / "other_cache"),
    ]  # the fits are made, and killed, anew
    for lines in sorted(chance.sample(range(PERIODS), KILLS)):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        kill_at(process, killed, lines, chance.uniform(0, 0.2))
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert results(killed) == results(whole)
