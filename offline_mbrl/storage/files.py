"""Files that are either whole or not there."""

import errno
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from offline_mbrl.errors import UserError

if sys.platform != "win32":  # there leftovers are told by their age alone
    import fcntl

PARTIAL = re.compile(r"\.offline-mbrl-[0-9a-f]{16}\.partial")
LEFT_AFTER = 600.0
"""Seconds without a write after which an unlocked partial file is taken for the leftover of a dead process."""


@contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A binary file beside `path` that replaces it when the block ends well, and is removed when it does not.

    It is made anew under a name that nobody can foresee, so it never is, nor follows, a link that was there before;
    what killed processes left in the folder is removed.

    Raises:
      OSError: with the path, also where the system does not name one (a full disk).
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        sweep_leftovers(path.parent)
        partial = path.with_name(f".offline-mbrl-{secrets.token_hex(8)}.partial")
        try:
            with partial.open("xb") as file:
                _lock(file)
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole or not at all."""
    with write_atomically(path) as file:
        file.write(text.encode())


@contextmanager
def writing(path: Path, advice: str) -> Iterator[None]:
    """Turns an `OSError` of the block (a full disk, a folder that is not writable) into a `UserError` with `advice`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); {advice}") from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an `OSError` of the block that names no file the name of `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def sweep_leftovers(folder: Path) -> None:
    """Removes the partial files in `folder` whose writers are dead: no write for a while, and no lock."""
    with suppress(OSError):  # another process was faster, or we may not
        for entry in [entry for entry in os.scandir(folder) if PARTIAL.fullmatch(entry.name)]:
            idle = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if idle > LEFT_AFTER and not _is_locked(entry.path):
                os.unlink(entry.path)


def _lock(file: IO[bytes]) -> None:
    """Marks `file` as one that is being written; the system takes the mark away when this process dies."""
    if sys.platform != "win32":
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_locked(path: str) -> bool:
    if sys.platform == "win32":
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
