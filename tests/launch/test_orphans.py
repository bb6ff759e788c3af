import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORKER = """
import os, time
from offline_mbrl.launch.orphans import {name}
{name}({argument})
print(os.getpid(), flush=True)
time.sleep(600)
"""
LAUNCHER = """
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", {worker!r}], stdin=subprocess.PIPE)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not fetched by anybody does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def launch(name: str, argument: str) -> tuple[subprocess.Popen[str], int]:
    """A launcher with a worker, and the worker's number once it is tied to it."""
    code = LAUNCHER.format(worker=WORKER.format(name=name, argument=argument))
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    return launcher, int(launcher.stdout.readline())


WAYS = [
    pytest.param("end_with", "os.getppid()", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux's way")),
    pytest.param("end_with_stdin", "", marks=pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc to look")),
]


@pytest.mark.parametrize(("name", "argument"), WAYS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_its_launcher(name: str, argument: str, number: int) -> None:
    launcher, worker = launch(name, argument)
    assert is_alive(worker)
    launcher.send_signal(number)
    launcher.communicate()
    end = time.monotonic() + 60
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(worker)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's way")
def test_a_worker_whose_launcher_is_dead_already_ends_at_once() -> None:
    code = WORKER.format(name="end_with", argument="2**22 - 1")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (143, b"")
