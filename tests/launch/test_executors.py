"""One test for all executors, on the real engines: whatever is lost on the way, a sweep ends with the same numbers."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offline_mbrl.storage import records
from offline_mbrl.storage.lock import RUN_LOCK, holder
from tests.launch.clusters import SITES, Site, release, slurm_job_of, until
from tests.launch.runs import COMMAND, ENVIRONMENT, job, results, suite, undisturbed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").exists(), reason="looks for living processes in /proc"),
]
STEPS = 400
JOBS = (job(0, steps=STEPS), job(1, steps=STEPS))
HOLDER = re.compile(r"process (\d+) on")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What the two jobs find when nothing stops them."""
    return undisturbed(JOBS, tmp_path_factory.mktemp("whole"))


@pytest.fixture(params=list(SITES))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with SITES[request.param](tmp_path) as opened:
        yield opened


def start(site: Site, folder: Path, out: Path | None = None) -> subprocess.Popen[str]:
    """The sweep of two jobs, which save their states after every period."""
    (folder / "plan").mkdir(exist_ok=True)
    plan = suite(folder / "plan", jobs=2, steps=STEPS)
    where = ["--out", str(out or folder / "out"), "--cache-dir", str(folder / "cache"), "--checkpoint-every", "0"]
    command = [*COMMAND, "sweep", str(plan), "--lanes", "off", "--executor", site.name, *site.arguments, *where]
    environment = ENVIRONMENT | site.environment
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]


def finish(site: Site, process: subprocess.Popen[str]) -> tuple[int, str]:
    """The code and the lines of a sweep; Slurm's requeued jobs are let start at once."""
    while True:
        try:
            error = process.communicate(timeout=1.0)[1]
            return process.returncode, error
        except subprocess.TimeoutExpired:
            if site.name == "slurm":
                release(site.environment)


def worker_of(folder: Path, besides: int = 0) -> int:
    """The number of the worker that trains in `folder`, another one than `besides`, once it has taken some periods."""

    def found() -> int:
        match = HOLDER.match(holder(folder / RUN_LOCK))
        number = int(match[1]) if match else 0
        return number if number != besides and len(records.read_records(folder / records.SCORES)) > 3 else 0

    until(found, f"training in {folder.name}")
    return found()


def any_worker(out: Path) -> int:
    """The number of a worker that trains somewhere."""
    folders = [out / one.name for one in JOBS]

    def busy() -> list[Path]:
        return [
            folder
            for folder in folders
            if len(records.read_records(folder / records.SCORES)) > 3
            and HOLDER.match(holder(folder / RUN_LOCK))
            and records.job_status(folder) == "unfinished"
        ]

    until(busy, "training")
    return worker_of(busy()[0])


def test_killed_workers_and_a_lost_node_change_nothing(site: Site, tmp_path: Path, whole: list[dict[str, str]]) -> None:
    sweep = start(site, tmp_path)
    os.kill(any_worker(tmp_path / "out"), signal.SIGKILL)
    if site.lose_node is None:  # this machine is the node: the sweep is lost with it
        os.kill(any_worker(tmp_path / "out"), 0)
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.communicate()
        sweep = start(site, tmp_path)
    else:
        site.lose_node(any_worker(tmp_path / "out"))
    code, error = finish(site, sweep)
    assert code == 0, error
    assert [results(tmp_path / "out" / one.name) for one in JOBS] == whole
    assert list((tmp_path / "out").glob(".stop-*")) == []


@pytest.mark.parametrize("second", ["local"])
def test_a_sweep_that_was_stopped_on_one_executor_ends_on_another(
    site: Site, second: str, tmp_path: Path, whole: list[dict[str, str]]
) -> None:
    sweep = start(site, tmp_path)
    any_worker(tmp_path / "out")
    sweep.send_signal(signal.SIGINT)
    error = sweep.communicate()[1]
    assert sweep.returncode == 130, error
    assert "stopped at a safe point" in error
    with SITES[second](tmp_path) as other:
        code, error = finish(other, start(other, tmp_path))
    assert code == 0, error
    assert [results(tmp_path / "out" / one.name) for one in JOBS] == whole


def test_a_preempted_slurm_job_goes_on_from_its_checkpoint(tmp_path: Path, whole: list[dict[str, str]]) -> None:
    with SITES["slurm"](tmp_path) as site:
        sweep = start(site, tmp_path)
        # What Slurm sends before the time limit. Another job may still be loading Python, which heeds no signal yet.
        signals = ["scancel", "--signal=USR2", slurm_job_of(any_worker(tmp_path / "out"))]
        subprocess.run(signals, env=ENVIRONMENT | site.environment, check=True)
        code, error = finish(site, sweep)
    assert code == 0, error
    assert "again" not in error  # Slurm's own queue had it, not the sweep
    assert [results(tmp_path / "out" / one.name) for one in JOBS] == whole
    logs = "".join(path.read_text() for path in (tmp_path / "out" / ".slurm").rglob("*_log.out"))
    logs += "".join(path.read_text() for path in (tmp_path / "out" / ".slurm").rglob("*_log.err"))
    assert "Calling checkpoint method" in logs


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte and a half, full but for some kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system is mounted by root only")
    (folder / "filler").write_bytes(b"0" * 1_400_000)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_shared_disk_is_named_and_the_same_command_goes_on_when_there_is_room(
    site: Site, tmp_path: Path, small_disk: Path, whole: list[dict[str, str]]
) -> None:
    code, error = finish(site, start(site, tmp_path, small_disk / "out"))
    assert code in (1, 2), error
    assert "no space left" in error.lower(), error
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    time.sleep(0.1)
    code, error = finish(site, start(site, tmp_path, small_disk / "out"))
    assert code == 0, error
    assert [results(small_disk / "out" / one.name) for one in JOBS] == whole
