"""A disk that fills up: every call that writes, in turn, is refused as the system would refuse it."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

WRITING = ("w", "a", "x", "+")


class FullDisk:
    """Counts the calls that write, and refuses number `full_at` and those after it; none when it is None."""

    def __init__(self, full_at: int | None, code: int = errno.ENOSPC) -> None:
        self.full_at, self.code, self.calls = full_at, code, 0

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.full_at is not None and self.calls > self.full_at:
            raise OSError(self.code, os.strerror(self.code))
        return function(*args, **options)


class File:
    """An open file whose writes go through the disk."""

    def __init__(self, file: IO[Any], disk: FullDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: Any) -> Any:
        return self._disk.call(self._file.write, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@contextmanager
def full_disk(full_at: int | None, code: int = errno.ENOSPC) -> Iterator[FullDisk]:
    """Inside, the writing calls of `pathlib` and `os` that the storage makes are those of a disk that fills up."""
    disk = FullDisk(full_at, code)
    real_open = Path.open

    def open_(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if not any(sign in mode for sign in WRITING):
            return real_open(path, mode, *args, **options)
        return File(disk.call(real_open, path, mode, *args, **options), disk)

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: disk.call(function, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", open_)
        for owner, name in ((Path, "mkdir"), (Path, "replace"), (os, "fsync")):
            patch.setattr(owner, name, through(getattr(owner, name)))
        yield disk
