import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.storage.lock import RUN_LOCK, InUseError, hold_run, holder, wait_for

HOLD = """
import sys, time
from pathlib import Path
from offline_mbrl.storage.lock import hold_run
with hold_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    """A process that holds `folder`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_by_name_until_the_first_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = holding(folder)
    try:
        with pytest.raises(InUseError) as caught, hold_run(folder):
            pass
        expected = f"{folder} is in use by process {first.pid} on {socket.gethostname()} since "
        assert str(caught.value).startswith(expected)
        assert str(caught.value).endswith("; wait until that ends, or stop it")
        first.send_signal(signal.SIGKILL)
        first.wait()
        with hold_run(folder):  # the system took the lock away; what the dead process wrote does not matter
            assert f"process {os.getpid()} on" in holder(folder / RUN_LOCK)
    finally:
        first.kill()
        first.communicate()
    with hold_run(folder):
        pass
    assert holder(folder / RUN_LOCK) == "another process"


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with hold_run(tmp_path), pytest.raises(InUseError, match=f"process {os.getpid()} on"), hold_run(tmp_path):
        pass


def test_one_that_waits_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = holding(tmp_path)
    try:
        code = "import os, sys, time; time.sleep(1); os.kill(int(sys.argv[1]), 9)"
        killer = subprocess.Popen([sys.executable, "-c", code, str(first.pid)])
        with wait_for(tmp_path / RUN_LOCK, "the fit"):
            pass
        killer.wait()
    finally:
        first.kill()
        first.communicate()
    assert f"warning: waiting for the fit, which process {first.pid} on " in capsys.readouterr().err


def test_nobody_waits_where_nobody_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with wait_for(tmp_path / "lock", "the fit"):
        pass
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=f"cannot write to {folder}: .*; choose another --out"), hold_run(folder):
            pass
