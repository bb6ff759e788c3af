"""What only a process of its own shows: pipes, full disks, Ctrl-C while it loads, other encodings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = "from offline_mbrl.cli.entry import main; main()"
INTERRUPTED = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
"""


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def start(*args: str | bytes, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """`offline-mbrl args` in a process, after the code `before`."""
    command = [sys.executable, "-c", f"{before}\n{ENTRY}", *args]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | variables, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    python = f"{sys.executable} -c '{ENTRY}'"
    script = f"({python} tasks; echo $? >code) | true; ({python} --help; echo $? >help) | true"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    shell = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert shell.stderr == ""
    assert {(tmp_path / name).read_text().strip() for name in ("code", "help")} <= {"141", "0"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_an_output_that_cannot_be_written_is_one_line() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", ENTRY, "tasks"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert (
        ended.stderr == "error: no space left on device: the output; make room there, then run the same command again\n"
    )
    assert ended.returncode == 2


@pytest.mark.parametrize("name", ["offline_mbrl.cli.app", "tyro", "tabulate", "offline_mbrl.tasks"])
def test_ctrl_c_while_it_loads_is_one_line(name: str) -> None:
    ended = start("tasks", before=INTERRUPTED.format(name=name))
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "stopped by SIGINT; give the same command again to go on\n"


def test_a_terminal_of_ascii_gets_its_table(results: Path) -> None:
    ended = start("table", str(results), PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"mean \xb1 sample standard deviation" in ended.stdout


def test_arguments_that_are_no_text_are_one_line() -> None:
    ended = start("table", b"caf\xe9")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: caf\\xdce9 is not a folder; name one that `train` or `sweep` wrote\n"
