import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.data.d4rl import download
from offline_mbrl.data.d4rl.catalogue import Official
from offline_mbrl.data.d4rl.download import fetch
from offline_mbrl.errors import UserError

CONTENT = bytes(range(256)) * 400


class Server(ThreadingHTTPServer):
    """Serves CONTENT, or misbehaves as `mode` says, and notes the Range of every request."""

    daemon_threads = True
    mode = "ranges"
    ranges: list[str | None]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []
        self.released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        mode, start = self.server.mode, 0
        if mode == "404" or (mode == "503 once" and len(self.server.ranges) == 1):
            self.send_error(404 if mode == "404" else 503)
            return
        if wanted and mode != "no ranges":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = CONTENT[start:]
        if mode == "wrong checksum":
            body = b"x" * len(body)
        if mode == "wrong size":
            body = body[:-1]
        self.send_response(206 if start else 200)
        if mode != "wrong size, unsaid":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mode == "stalls" or (mode == "cut once" and len(self.server.ranges) == 1):
            self.wfile.write(body[:1000])
            self.wfile.flush()
            if mode == "stalls":
                self.server.released.wait(30)
            return
        self.wfile.write(body[:-1] if mode == "wrong size, unsaid" else body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def entry(server: Server) -> Official:
    url = f"http://127.0.0.1:{server.server_port}/hopper_medium-v2.hdf5"
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Official("hopper-medium", "v2", "hopper_medium-v2.hdf5", len(CONTENT), digest, url)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_fresh_download(entry: Official, server: Server, tmp_path: Path) -> None:
    assert fetch(entry, tmp_path / "new").read_bytes() == CONTENT
    assert names(tmp_path / "new") == {entry.file}
    assert server.ranges == [None]
    fetch(entry, tmp_path / "new")
    assert server.ranges == [None]  # what is there and right is not fetched again


@pytest.mark.parametrize(("mode", "have"), [("ranges", 5000), ("no ranges", 5000), ("ranges", len(CONTENT))])
def test_a_cut_download_is_continued(entry: Official, server: Server, tmp_path: Path, mode: str, have: int) -> None:
    server.mode = mode
    part = tmp_path / f"{entry.file}.part"
    part.write_bytes(CONTENT[:have])
    assert fetch(entry, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ([f"bytes={have}-"] if have < len(CONTENT) else [])
    assert names(tmp_path) == {entry.file}


@pytest.mark.parametrize(("mode", "ranges"), [("cut once", [None, "bytes=1000-"]), ("503 once", [None, None])])
def test_a_passing_trouble_is_retried(
    entry: Official, server: Server, tmp_path: Path, mode: str, ranges: list[str | None]
) -> None:
    server.mode = mode
    assert fetch(entry, tmp_path, wait=0).read_bytes() == CONTENT
    assert server.ranges == ranges


def test_a_missing_file_is_not_retried(entry: Official, server: Server, tmp_path: Path) -> None:
    server.mode = "404"
    with pytest.raises(UserError, match=r"answers 404 Not Found; get hopper_medium-v2.hdf5 elsewhere .* data import"):
        fetch(entry, tmp_path)
    assert len(server.ranges) == 1
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("wrong size", "offers 102399 bytes, the official hopper_medium-v2.hdf5 has 102400"),
        ("wrong checksum", "gave 102400 bytes with SHA-256 .* expected 102400 bytes with"),
    ],
)
def test_what_is_not_the_official_file_is_not_kept(
    entry: Official, server: Server, tmp_path: Path, mode: str, message: str
) -> None:
    server.mode = mode
    with pytest.raises(UserError, match=message):
        fetch(entry, tmp_path)
    assert names(tmp_path) == set()


def test_a_server_that_stalls_is_given_up_and_its_bytes_are_kept(
    entry: Official, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.mode = "stalls"
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    with pytest.raises(UserError, match=r"gave up .* after 2 attempts with \d+ of 102400 bytes .*run it again"):
        fetch(entry, tmp_path, stall=1.0, wait=0)
    part = (tmp_path / f"{entry.file}.part").read_bytes()
    assert len(part) >= 1000
    assert CONTENT.startswith(part)
    server.mode = "ranges"
    assert fetch(entry, tmp_path).read_bytes() == CONTENT


def test_a_connection_that_ends_early_without_saying_is_retried(
    entry: Official, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.mode = "wrong size, unsaid"
    with pytest.raises(UserError, match=r"gave up .* with 102399 of 102400 bytes|gave 102399 bytes"):
        fetch(entry, tmp_path, wait=0)
    assert not (tmp_path / entry.file).exists()


def test_a_server_that_is_not_there(entry: Official, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gave up .* \(ConnectError"):
        fetch(entry._replace(url="http://127.0.0.1:9/x"), tmp_path, wait=0)


def test_a_disk_that_fills(entry: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    def open_full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return Full() if path.suffix == ".part" and mode != "rb" else opened(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(UserError, match=r"No space left on device\); free space and run it again, it goes on"):
        fetch(entry, tmp_path)
    assert not (tmp_path / entry.file).exists()


def test_a_wrong_file_in_place_is_replaced(entry: Official, tmp_path: Path) -> None:
    (tmp_path / entry.file).write_bytes(CONTENT[:-1])
    assert fetch(entry, tmp_path).read_bytes() == CONTENT
