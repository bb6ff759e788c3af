"""Sweeps that are stopped from outside, in every way that happens, and gone on with."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from offline_mbrl.storage import records
from offline_mbrl.storage.lock import RUN_LOCK, holder
from tests.launch.runs import COMMAND, ENVIRONMENT, job, results, suite, undisturbed

pytestmark = [
    pytest.mark.medium,
    pytest.mark.skipif(not Path("/proc").exists(), reason="looks for living processes in /proc"),
]
STEPS = 200
JOBS = (job(0, steps=STEPS), job(1, steps=STEPS))


class Sweep(NamedTuple):
    """A sweep that was started, and the worker that is at it."""

    process: subprocess.Popen[str]
    worker: int


Send = Callable[[Sweep, int], None]
TARGETS: dict[str, Send] = {
    "sweep": lambda sweep, number: os.kill(sweep.process.pid, number),
    "group": lambda sweep, number: os.killpg(sweep.process.pid, number),
    "worker": lambda sweep, number: os.kill(sweep.worker, number),
}


def command(folder: Path) -> list[str]:
    """The sweep of two jobs, one after the other."""
    plan = suite(folder, jobs=2, steps=STEPS)
    folders = ["--out", str(folder / "out"), "--cache-dir", str(folder / "cache")]
    return [*COMMAND, "sweep", str(plan), "--lanes", "off", *folders]


def start(folder: Path) -> Sweep:
    """A sweep whose first job has trained for some periods."""
    process = subprocess.Popen(
        command(folder), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    first = folder / "out" / JOBS[0].name
    end = time.monotonic() + 300
    while len(records.read_records(first / records.SCORES)) < 4:
        assert process.poll() is None, "the sweep ended early"
        assert time.monotonic() < end, "the sweep gave no record in time"
        time.sleep(0.01)
    found = re.match(r"process (\d+) on", holder(first / RUN_LOCK))
    assert found is not None
    return Sweep(process, int(found[1]))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def await_end(pid: int) -> None:
    end = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < end, "a worker lived on without its sweep"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What the two jobs find when nothing stops them."""
    return undisturbed(JOBS, tmp_path_factory.mktemp("whole"))


def goes_on(folder: Path, whole: list[dict[str, str]]) -> None:
    """The same command ends the sweep as if nothing had stopped it."""
    again = subprocess.run(command(folder), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert [results(folder / "out" / one.name) for one in JOBS] == whole


SLOW = pytest.mark.slow
STOPS = [
    pytest.param("sweep", signal.SIGINT),
    *(pytest.param("sweep", number, marks=SLOW) for number in (signal.SIGTERM, signal.SIGHUP)),
    *(pytest.param("group", number, marks=SLOW) for number in (signal.SIGINT, signal.SIGTERM)),
    *(pytest.param("worker", number, marks=SLOW) for number in (signal.SIGINT, signal.SIGTERM)),
]


@pytest.mark.parametrize(("target", "number"), STOPS)
def test_a_signal_stops_the_sweep_at_a_safe_point_and_nothing_is_tried_again(
    tmp_path: Path, whole: list[dict[str, str]], target: str, number: int
) -> None:
    sweep = start(tmp_path)
    TARGETS[target](sweep, number)
    error = sweep.process.communicate()[1]
    assert sweep.process.returncode == 128 + number
    assert error.splitlines()[-1] == f"stopped by {signal.Signals(number).name}; give the same command again to go on"
    assert "Traceback" not in error
    assert not is_alive(sweep.worker)
    first, second = (tmp_path / "out" / one.name for one in JOBS)
    last = records.read_records(first / records.SCORES)[-1]["step"]
    assert (first / "checkpoints" / str(last)).is_dir()
    assert records.job_status(first) == "unfinished"
    assert not (second / records.JOB).exists()
    goes_on(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sweep", "group"])
def test_a_killed_sweep_takes_its_workers_along(tmp_path: Path, whole: list[dict[str, str]], target: str) -> None:
    sweep = start(tmp_path)
    TARGETS[target](sweep, signal.SIGKILL)
    sweep.process.communicate()
    await_end(sweep.worker)
    goes_on(tmp_path, whole)


@pytest.mark.slow
def test_a_killed_worker_is_started_again(tmp_path: Path, whole: list[dict[str, str]]) -> None:
    sweep = start(tmp_path)
    os.kill(sweep.worker, signal.SIGKILL)
    sweep.process.communicate()
    assert sweep.process.returncode == 0
    assert [results(tmp_path / "out" / one.name) for one in JOBS] == whole


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once(tmp_path: Path, whole: list[dict[str, str]]) -> None:
    sweep = start(tmp_path)
    os.killpg(sweep.process.pid, signal.SIGINT)
    assert sweep.process.stderr is not None
    while "once more stops at once" not in sweep.process.stderr.readline():
        pass
    os.killpg(sweep.process.pid, signal.SIGINT)
    error = sweep.process.communicate()[1]
    assert sweep.process.returncode == 130
    assert "stopped at once; the same command goes on from what was saved last" in error
    await_end(sweep.worker)
    goes_on(tmp_path, whole)


@pytest.mark.slow
def test_two_sweeps_of_one_suite_do_each_job_once(tmp_path: Path, whole: list[dict[str, str]]) -> None:
    sweep = start(tmp_path)
    os.kill(sweep.worker, signal.SIGSTOP)  # so that it is at its job for as long as the second sweep lasts
    second = subprocess.run(command(tmp_path), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    os.kill(sweep.worker, signal.SIGCONT)
    assert second.returncode == 1
    assert f"is in use by process {sweep.worker} on" in second.stderr
    sweep.process.communicate()
    assert sweep.process.returncode == 0
    goes_on(tmp_path, whole)


@pytest.mark.slow
def test_a_sweep_beside_a_living_orphan_leaves_it_alone(tmp_path: Path, whole: list[dict[str, str]]) -> None:
    """A worker that somebody started by hand and that no launcher ends."""
    out = tmp_path / "out" / JOBS[0].name
    first = start(tmp_path)
    first.process.kill()
    first.process.communicate()
    await_end(first.worker)
    alone = [sys.executable, "-m", "offline_mbrl.launch.worker", str(out)]
    orphan = subprocess.Popen(alone, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while str(orphan.pid) not in holder(out / RUN_LOCK) and time.monotonic() < end:
        time.sleep(0.01)
    orphan.send_signal(signal.SIGSTOP)  # so that it is at its job for as long as the sweep lasts
    beside = subprocess.run(command(tmp_path), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert f"is in use by process {orphan.pid} on" in beside.stderr
    assert beside.returncode == 1
    orphan.send_signal(signal.SIGCONT)
    orphan.wait()
    goes_on(tmp_path, whole)
