"""Fetches official D4RL files: an interrupted download resumes, and is checked before it gets its name."""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import httpx
from filelock import FileLock
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from offline_mbrl.data.d4rl.catalogue import Official, official_file
from offline_mbrl.data.d4rl.files import check_file, folders, sha256
from offline_mbrl.errors import UserError, warn
from offline_mbrl.progress import progress
from offline_mbrl.storage.files import writing
from offline_mbrl.tasks import Task

ATTEMPTS = 5
STALL = 30.0
"""Seconds without a byte after which a connection is given up and opened again."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none, and makes links for administrators only


class UnavailableError(Exception):
    """The server cannot answer now; worth another attempt."""


TRANSIENT = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError, UnavailableError)


MIRRORS = "D4RL_MIRRORS"
"""Names addresses of folders, apart by spaces, that have the files under their own names."""


def download(task: Task, data_dir: Path | None = None, version: str = "v2", mirrors: Sequence[str] = ()) -> Path:
    """The official file of `task` in the first search folder, fetched unless it is there already.

    Args:
      task: whose file.
      data_dir: where to put it, before the usual folders.
      version: of the data.
      mirrors: addresses of folders to try first, then those of $D4RL_MIRRORS, then the official one. The checksum is
        the same for all of them, so none of them needs to be trusted.

    Raises:
      UserError: as `fetch`, for the last of the addresses.
    """
    entry, folder = official_file(task, version), folders(data_dir)[0]
    *others, last = [entry._replace(url=url) for url in addresses(entry, mirrors)]
    for other in others:
        try:
            return fetch(other, folder)
        except UserError as error:
            warn(f"{error}; going on to the next address")
    return fetch(last, folder)


def addresses(entry: Official, mirrors: Sequence[str]) -> list[str]:
    """Where a file may be had, in the order to try."""
    named = [*mirrors, *os.environ.get(MIRRORS, "").split()]
    return [*(f"{mirror.rstrip('/')}/{entry.file}" for mirror in named), entry.url]


def fetch(entry: Official, folder: Path, *, stall: float = STALL, wait: float = 1.0) -> Path:
    """Downloads into `<file>.part` and renames it once size and SHA-256 agree with the published ones.

    A `.part` left by an interrupted download is continued. Attempts are spaced by `wait` seconds, doubling.

    Raises:
        UserError: the address is gone, the server stalls or sends one in circles, the content is not the official one,
          or the disk is full.
    """
    target, part = folder / entry.file, folder / f"{entry.file}.part"
    with writing(part, "free space and run it again, it goes on from there, or choose another --data-dir"):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{entry.file}.lock"):
            if not (target.is_file() and check_file(target, entry).official):
                _fetch_part(entry, part, stall, wait)
                _check_part(entry, part)
                part.replace(target)
            part.unlink(missing_ok=True)
    return target


def _fetch_part(entry: Official, part: Path, stall: float, wait: float) -> None:
    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(wait, max=30),
        retry=retry_if_exception_type(TRANSIENT),
        reraise=True,
    )
    try:
        with progress(entry.file, entry.bytes, lines=False) as report:
            retrying(_continue, entry, part, stall, report)
    except TRANSIENT as error:
        raise UserError(
            f"gave up on {entry.url} after {ATTEMPTS} attempts with {_size(part)} of {entry.bytes} bytes "
            f"({type(error).__name__}: {error or 'no answer'}); run it again to go on from there"
        ) from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise UserError(f"{entry.url} leads nowhere ({error}); {_elsewhere(entry)}") from error


def _continue(entry: Official, part: Path, stall: float, report: Callable[[int], None]) -> None:
    """One connection: asks for the bytes that `part` lacks and appends them, up to the official size."""
    have = _size(part)
    if have >= entry.bytes:
        return
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    with httpx.stream("GET", entry.url, headers=headers, timeout=stall, follow_redirects=True) as response:
        _check_status(entry, response)
        resumed = have > 0 and response.status_code == httpx.codes.PARTIAL_CONTENT
        start = have if resumed else 0
        _check_length(entry, response, start)
        with _open_part(part, resumed=resumed) as file:
            # In the pieces that arrive: a piece of fixed size would be lost when the connection breaks inside it.
            for chunk in response.iter_raw():
                start += file.write(chunk[: entry.bytes - start])
                report(start)
                if start == entry.bytes:
                    return


def _size(part: Path) -> int:
    """Bytes that an interrupted download left; what is no plain file of its own, a link say, is removed."""
    try:
        status = part.lstat()
    except FileNotFoundError:
        return 0
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return status.st_size
    part.unlink()
    return 0


def _open_part(part: Path, *, resumed: bool) -> BinaryIO:
    """The part for appending, or a new one; never through a link, and never a file that was there before."""
    if not resumed:
        part.unlink(missing_ok=True)
    flags = os.O_APPEND if resumed else os.O_CREAT | os.O_EXCL
    return os.fdopen(os.open(part, os.O_WRONLY | NO_LINK | flags, 0o666), "ab")


def _check_status(entry: Official, response: httpx.Response) -> None:
    if response.status_code in (429, 500, 502, 503, 504):
        raise UnavailableError(f"HTTP {response.status_code}")
    if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise UserError(f"{entry.url} answers {response.status_code} {response.reason_phrase}; {_elsewhere(entry)}")


def _check_length(entry: Official, response: httpx.Response, start: int) -> None:
    length = response.headers.get("Content-Length")
    if length is not None and start + int(length) != entry.bytes:
        raise UserError(
            f"{entry.url} offers {start + int(length)} bytes, the official {entry.file} has {entry.bytes}; "
            f"{_elsewhere(entry)}"
        )


def _elsewhere(entry: Official) -> str:
    return f"get {entry.file} elsewhere and hand it over with `offline-mbrl data import FILE`"


def _check_part(entry: Official, part: Path) -> None:
    """Removes a download that is not the official file: continuing it could never make it right."""
    size, digest = part.stat().st_size, sha256(part)
    if (size, digest) != (entry.bytes, entry.sha256):
        part.unlink()
        raise UserError(
            f"{entry.url} gave {size} bytes with SHA-256 {digest}, expected {entry.bytes} bytes with {entry.sha256}; "
            "the download was removed, try again or import the file from elsewhere"
        )
