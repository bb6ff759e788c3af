"""Locks between processes: on a run's folder for the run's life, and on what is made once for all.

A lock is the system's (`flock`, through filelock): it ends with the process that holds it, however that dies, so none
is ever left behind. The file stays; beside it `<name>.holder` says who holds it.

On NFS Linux passes such a lock on to the server (NFSv4, or NFSv3 with lockd), so it holds between hosts, and a host
that dies gives it up when its lease runs out, 90 s later as a rule. It holds within one host only where the mount says
`nolock` or `local_lock`, and on Lustre with `localflock`; there two hosts that run the same job do not see each other.
Where a file system has no locks at all, filelock goes by the file's existence and says so.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from offline_mbrl.errors import UserError, warn
from offline_mbrl.storage.files import write_text

RUN_LOCK = ".lock"


class InUseError(UserError):
    """Another process holds the lock."""


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Makes the folder of a run where there is none and holds it: one process at a time may train there.

    Raises:
      InUseError: another process trains there; the message names it.
      UserError: the folder cannot be made or written.
    """
    path = folder / RUN_LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _take(path)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write to {folder}: {why}; choose another --out") from error
    if lock is None:
        raise InUseError(f"{folder} is in use by {holder(path)}; wait until that ends, or stop it")
    with _as_holder(lock, path):
        yield


@contextmanager
def wait_for(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path`, whose folder exists; says whom it waits for where another process makes `what`."""
    lock = _take(path)
    if lock is None:
        warn(f"waiting for {what}, which {holder(path)} is making")
        lock = FileLock(path)
        lock.acquire()
    with _as_holder(lock, path):
        yield


def holder(path: Path) -> str:
    """Who holds the lock file `path`, as far as is known."""
    try:
        return _holder_file(path).read_text(encoding="utf-8").strip() or "another process"
    except (OSError, UnicodeError):
        return "another process"


def _take(path: Path) -> FileLock | None:
    """The lock, if nobody else has it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


@contextmanager
def _as_holder(lock: FileLock, path: Path) -> Iterator[None]:
    """Names this process beside the held `lock`, and lets go of both in the end."""
    file = _holder_file(path)
    try:
        with suppress(OSError):  # the name is a courtesy; a full disk must not cost the lock
            write_text(file, f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        lock.release()


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
