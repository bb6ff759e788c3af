import errno
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

from offline_mbrl.errors import UserError
from offline_mbrl.failures import exit_code, explain, guarded, out_of_system
from offline_mbrl.stopping import Stopped

TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Error writing "x/0" in OCDBT database at local file "/r/1/": Failed writing: "/r/1/d/f6": '
    "Failed to write 433472 bytes to file 7: No space left on device [os_error_code='28']"
)


def system(code: int, *names: str | None) -> OSError:
    return OSError(code, os.strerror(code), *names)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def while_handling(error: BaseException, earlier: BaseException) -> BaseException:
    error.__context__ = earlier
    return error


def invalid() -> ValidationError:
    class Run(BaseModel):
        steps: int = Field(ge=1)

    with pytest.raises(ValidationError) as caught:
        Run(steps=0)
    return caught.value


EXPECTED: list[tuple[BaseException, str, int]] = [
    (UserError("unknown task 'x'\nand more"), "unknown task 'x' and more", 2),
    (UserError("a \x1b[31mred\udcff name"), r"a \x1b[31mred\xdcff name", 2),
    (Stopped(signal.SIGTERM), "stopped by SIGTERM; give the same command again to go on", 143),
    (Stopped(signal.SIGINT), "stopped by SIGINT; give the same command again to go on", 130),
    (KeyboardInterrupt(), "stopped by SIGINT; give the same command again to go on", 130),
    (while_handling(ImportError("half a module"), KeyboardInterrupt()), "stopped by SIGINT; give the same", 130),
    (while_handling(ImportError("half a module"), Stopped(signal.SIGTERM)), "stopped by SIGTERM; give the same", 143),
    (system(errno.ENOSPC, "/r/scores.jsonl"), "no space left on device: /r/scores.jsonl; make room there, then run", 2),
    (system(errno.ENOSPC), "no space left on device: the output; make room there", 2),
    (system(errno.EDQUOT, "/r/x"), "disk quota exceeded: /r/x; make room there", 2),
    (system(errno.EFBIG, "/r/x"), "file too large: /r/x; raise the limit on the size of files", 2),
    (system(errno.EACCES, "/r/x"), "permission denied: /r/x; choose a place that you may read and write", 2),
    (system(errno.EROFS, "/r/x"), "read-only file system: /r/x; choose a place that can be written", 2),
    (system(errno.ENAMETOOLONG, "/r/x"), "file name too long: /r/x; choose a shorter name", 2),
    (system(errno.EISDIR, "/r/partial", None, "/r/x"), "is a directory: /r/x; name a file", 2),
    (system(errno.EMFILE, "/r/x"), "too many open files: /r/x; raise the limit on open files", 2),
    (system(errno.EIO, "/r/x"), "input/output error: /r/x; the disk or the way to it fails", 2),
    (system(errno.ESTALE, "/r/x"), "/r/x; the network's disk went away", 2),
    (system(errno.ENOMEM), "out of memory; ask for less at once", 2),
    (system(errno.EDOM, "/r/x"), "/r/x; see to it, then run the same command again", 2),
    (
        MemoryError("Unable to allocate 7 TiB\nfor an array"),
        "out of memory (Unable to allocate 7 TiB); ask for less",
        2,
    ),
    (
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes."),
        "out of memory (RESOURCE_EXHAUSTED: Out",
        2,
    ),
    (ValueError(TENSORSTORE), "no space left on device: a checkpoint; make room there", 2),
    (RecursionError("maximum depth"), "an input is nested too deeply to be read; make it flatter", 2),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "a text or a name is not UTF-8 ('utf-8' codec can't decode", 2),
    (invalid(), "Run setting steps=0: input should be greater than or equal to 1", 2),
    (while_handling(system(errno.ENOSPC, "/r/x"), Stopped(signal.SIGTERM)), "no space left on device: /r/x", 2),
    (caused(RuntimeError("wrapped"), system(errno.ENOSPC, "/r/x")), "no space left on device: /r/x", 2),
    (ExceptionGroup("two", [ValueError("a"), system(errno.ENOSPC, "/r/x")]), "no space left on device: /r/x", 2),
]


@pytest.mark.parametrize(("error", "line", "code"), EXPECTED, ids=[str(place) for place in range(len(EXPECTED))])
def test_what_a_sound_program_may_meet_is_one_line_with_a_remedy(error: BaseException, line: str, code: int) -> None:
    said = explain(error)
    assert said.startswith(line) or line in said, said
    assert len(said.splitlines()) == 1
    assert exit_code(error) == code


def test_a_disk_without_inodes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 9, 9, 9, 5, 0, 0, 0, 255)))
    assert explain(system(errno.ENOSPC, str(tmp_path / "x"))).startswith("no room for another file (no inodes left): ")
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 9, 0, 0, 5, 0, 0, 0, 255)))
    assert explain(system(errno.ENOSPC, str(tmp_path / "x"))).startswith("no space left on device: ")


def test_the_systems_error_is_found_in_a_librarys_words() -> None:
    found = out_of_system(ValueError(TENSORSTORE), Path("/r/1"))
    assert found is not None
    assert (found.errno, found.filename) == (errno.ENOSPC, "/r/1")
    older = out_of_system(ValueError("Failed to write: No space left on device [OS error 28]"), Path("/r/1"))
    assert older is not None
    assert older.errno == errno.ENOSPC
    assert out_of_system(ValueError("shape (28,) is not (27,)"), Path("/r/1")) is None


def test_a_fault_of_the_program_leaves_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["offline-mbrl", "train", "x\udcff"])
    try:
        raise_a_fault()
    except KeyError as fault:
        error = fault
    line = explain(error, tmp_path)
    assert exit_code(error) == 70
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(r"offline-mbrl-crash-\w+\.txt", file.name)
    assert line == (
        f"a fault of the program, KeyError: 'no such key'; please report it with {file}, which says where it was"
    )
    report = file.read_text()
    assert r"command: ['offline-mbrl', 'train', 'x\udcff']" in report
    assert "in raise_a_fault" in report
    assert re.search(r"^numpy \d", report, re.MULTILINE)
    assert capsys.readouterr().err == ""


def raise_a_fault() -> None:
    raise KeyError("no such key")


def test_a_fault_on_a_full_disk_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> None:
        raise system(errno.ENOSPC)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    try:
        raise_a_fault()
    except KeyError as fault:
        line = explain(fault)
    assert line.endswith("please report it with the lines above")
    assert "in raise_a_fault" in capsys.readouterr().err


def test_a_plain_error_behind_a_fault_does_not_hide_it() -> None:
    fault = while_handling(KeyError("x"), system(errno.ENOENT, "/r/x"))
    assert exit_code(fault) == 70


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (1, 1), (130, 130), ("text", 1)])
def test_a_command_may_choose_its_exit_code(code: int | str | None, expected: int) -> None:
    assert guarded(lambda: sys.exit(code)) == expected


def test_a_commands_value_is_its_exit_code() -> None:
    assert guarded(lambda: None) == 0
    assert guarded(lambda: 3) == 3


def test_a_closed_pipe_is_no_failure_to_speak_of(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    assert guarded(command) == 141
    assert capsys.readouterr().err == ""
