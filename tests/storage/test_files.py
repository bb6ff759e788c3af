import contextlib
import errno
import itertools
import os
import secrets
import sys
import time
from pathlib import Path

import pytest

from offline_mbrl.storage.files import LEFT_AFTER, PARTIAL, sweep_leftovers, write_atomically, write_text
from offline_mbrl.storage.records import append_records, read_json, read_records, write_json
from tests.faults import full_disk

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and permissions of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole_or_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file"
    write_text(path, "old")
    with contextlib.suppress(RuntimeError), write_atomically(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert (path.read_text(), names(path.parent)) == ("old", ["file"])
    write_text(path, "new")
    assert (path.read_text(), names(path.parent)) == ("new", ["file"])


@posix
def test_files_get_the_users_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@posix
def test_a_planted_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "file").symlink_to(victim)
    write_text(tmp_path / "file", "new")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()


@posix
def test_a_partial_file_is_made_anew_even_where_its_name_was_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".offline-mbrl-{'0' * 16}.partial").symlink_to(victim)
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "file", "new")
    assert victim.read_text() == "mine"


def test_names_cannot_be_foreseen(tmp_path: Path) -> None:
    seen = set()
    for _ in range(3):
        with write_atomically(tmp_path / "file") as file:
            seen.add(file.name)
    assert len(seen) == 3
    assert all(PARTIAL.fullmatch(Path(name).name) for name in seen)


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        write_text(tmp_path, "x")
    assert caught.value.filename == str(tmp_path)


def leave(folder: Path, digit: str, age: float) -> Path:
    path = folder / f".offline-mbrl-{digit * 16}.partial"
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_leftovers_of_dead_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    leave(tmp_path, "a", 2 * LEFT_AFTER)
    young = leave(tmp_path, "b", LEFT_AFTER / 2)
    (tmp_path / ".mine.partial").touch()
    os.utime(tmp_path / ".mine.partial", (0, 0))
    write_text(tmp_path / "file", "x")
    assert names(tmp_path) == [".mine.partial", young.name, "file"]


@posix
def test_a_slow_writers_file_is_not_swept(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "file") as file:
        os.utime(file.name, (0, 0))
        sweep_leftovers(tmp_path)
        assert Path(file.name).exists()
    assert names(tmp_path) == ["file"]


def write_all(folder: Path, word: str) -> None:
    write_text(folder / "deep" / "text", word)
    write_json(folder / "json", {word: 1})
    append_records(folder / "lines", [{"step": word}])


def test_a_disk_that_fills_up_at_any_call_leaves_old_or_new_and_names_the_file(tmp_path: Path) -> None:
    write_all(tmp_path / "whole", "old")
    with full_disk(None) as disk:
        write_all(tmp_path / "whole", "new")
    assert disk.calls == 5 + 5 + 3  # folder, open, write, sync, replace, twice; open, write, sync
    for call, code in itertools.product(range(disk.calls), (errno.ENOSPC, errno.EDQUOT, errno.EIO)):
        folder = tmp_path / f"{call}-{code}"
        write_all(folder, "old")
        with full_disk(call, code), pytest.raises(OSError, match=r"\[Errno") as caught:
            write_all(folder, "new")
        assert caught.value.errno == code
        assert Path(str(caught.value.filename)).name in ("text", "json", "lines")
        assert (folder / "deep" / "text").read_text() in ("old", "new")
        assert read_json(folder / "json") in ({"old": 1}, {"new": 1})
        assert read_records(folder / "lines")[0] == {"step": "old"}
        assert (names(folder), names(folder / "deep")) == (["deep", "json", "lines"], ["text"])
