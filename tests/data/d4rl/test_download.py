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
from offline_mbrl.data.d4rl.download import addresses, fetch
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import get_task

CONTENT = bytes(range(256)) * 400

LOCATIONS = {"loop": "/hopper_medium-v2.hdf5", "empty": "", "elsewhere": "ftp://127.0.0.1/x"}
"""Where the modes that redirect send one to."""


class Server(ThreadingHTTPServer):
    """Serves CONTENT, or misbehaves as `mode` says, and notes the Range of every request."""

    daemon_threads = True
    mode = "ranges"
    ranges: list[str | None]
    surplus = 0  # pieces sent beyond the end

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
        if mode in LOCATIONS:
            self.send_response(302)
            self.send_header("Location", LOCATIONS[mode])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
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
        if mode not in ("wrong size, unsaid", "no length", "endless"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mode == "stalls" or (mode == "cut once" and len(self.server.ranges) == 1):
            self.wfile.write(body[:1000])
            self.wfile.flush()
            if mode == "stalls":
                self.server.released.wait(30)
            return
        self.wfile.write(body[:-1] if mode == "wrong size, unsaid" else body)
        while mode == "endless":
            try:
                self.wfile.write(bytes(100_000))
            except OSError:
                return
            self.server.surplus += 1


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
def test_an_interrupted_download_resumes(entry: Official, server: Server, tmp_path: Path, mode: str, have: int) -> None:
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


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("loop", "Exceeded maximum allowed redirects"),
        ("empty", "Exceeded maximum allowed redirects"),
        ("elsewhere", "unsupported protocol 'ftp://'"),
    ],
)
def test_redirections_that_lead_nowhere_are_not_tried_again(
    entry: Official, server: Server, tmp_path: Path, mode: str, words: str
) -> None:
    server.mode = mode
    with pytest.raises(UserError, match=rf"leads nowhere \(.*{words}.*\); get .* elsewhere .* data import FILE"):
        fetch(entry, tmp_path)
    assert len(server.ranges) <= 21  # one attempt follows twenty
    assert names(tmp_path) == set()


@pytest.mark.parametrize("mode", ["no length", "endless"])
def test_without_a_length_the_official_size_ends_the_download(
    entry: Official, server: Server, tmp_path: Path, mode: str
) -> None:
    server.mode = mode
    assert fetch(entry, tmp_path).read_bytes() == CONTENT
    assert server.surplus < 1000  # what the connection buffers, no more


def planted(path: Path, link: str, victim: Path) -> None:
    if link == "hard":
        path.hardlink_to(victim)
    else:
        path.symlink_to(victim)


@pytest.mark.parametrize("mode", ["ranges", "no ranges"])
@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_planted_link_is_replaced_and_its_target_kept(
    entry: Official, server: Server, tmp_path: Path, mode: str, link: str
) -> None:
    server.mode = mode
    victim, folder = tmp_path / "victim", tmp_path / "data"
    victim.write_bytes(b"mine")
    folder.mkdir()
    planted(folder / f"{entry.file}.part", link, victim)
    assert fetch(entry, folder).read_bytes() == CONTENT
    assert victim.read_bytes() == b"mine"
    assert server.ranges == [None]


def test_a_dangling_link_makes_no_file_elsewhere(entry: Official, tmp_path: Path) -> None:
    (tmp_path / f"{entry.file}.part").symlink_to(tmp_path / "elsewhere")
    fetch(entry, tmp_path)
    assert names(tmp_path) == {entry.file}


def test_a_leftover_beside_the_whole_file_is_removed(entry: Official, tmp_path: Path) -> None:
    (tmp_path / entry.file).write_bytes(CONTENT)
    part = tmp_path / f"{entry.file}.part"
    part.write_bytes(CONTENT[:100])
    fetch(entry, tmp_path)
    assert not part.exists()


def test_a_disk_that_fills(entry: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_open_part", lambda part, resumed: Full())
    with pytest.raises(UserError, match=r"No space left on device\); free space and run it again, it goes on"):
        fetch(entry, tmp_path)
    assert not (tmp_path / entry.file).exists()


def test_a_wrong_file_in_place_is_replaced(entry: Official, tmp_path: Path) -> None:
    (tmp_path / entry.file).write_bytes(CONTENT[:-1])
    assert fetch(entry, tmp_path).read_bytes() == CONTENT


def test_addresses_are_the_named_ones_then_those_of_the_environment_then_the_official_one(
    entry: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D4RL_MIRRORS", "https://b.org/x/  https://c.org")
    assert addresses(entry, ["https://a.org/d"]) == [
        "https://a.org/d/hopper_medium-v2.hdf5",
        "https://b.org/x/hopper_medium-v2.hdf5",
        "https://c.org/hopper_medium-v2.hdf5",
        entry.url,
    ]


def test_a_mirror_without_the_file_gives_way_to_the_official_address(
    entry: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server() as empty:
        empty.mode = "404"
        thread = threading.Thread(target=empty.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setattr(download, "official_file", lambda task, version: entry)
        mirror = f"http://127.0.0.1:{empty.server_port}"
        path = download.download(get_task("hopper-medium"), tmp_path, mirrors=[mirror])
        empty.released.set()
        empty.shutdown()
        thread.join()
    assert path.read_bytes() == CONTENT
    assert "going on to the next address" in capsys.readouterr().err
