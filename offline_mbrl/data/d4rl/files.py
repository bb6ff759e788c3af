"""D4RL files on this machine: where they are looked for, and whether they are the official ones.

What counts as official is the SHA-256 in `files.csv`. A file is hashed when it is downloaded or imported, when it is
first read, and again once its size or time stamp changes; the result is kept in the cache folder, so that reading stays
fast.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.d4rl.catalogue import VERSIONS, Official, file_name, official_files
from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import write_atomically, write_text, writing
from offline_mbrl.tasks import Task


class Check(NamedTuple):
    """What `verify` found: the file, whether it is official, and the reason when it is not."""

    path: Path
    official: bool
    reason: str


def folders(data_dir: Path | None = None) -> list[Path]:
    """Where files are looked for, in order: `data_dir`, $D4RL_DATASET_DIR, ~/.d4rl/datasets."""
    named = [data_dir, os.environ.get("D4RL_DATASET_DIR"), "~/.d4rl/datasets"]
    return [Path(folder).expanduser() for folder in named if folder]


def locate(task: Task, data_dir: Path | None = None, version: str = "v2") -> Path:
    """The first file of the task and version in the search folders."""
    searched = folders(data_dir)
    for folder in searched:
        if (path := folder / file_name(task, version)).is_file():
            return path
    where = ", ".join(map(str, searched))
    raise UserError(f"{file_name(task, version)} is not in {where}; {_advice(task, searched, version)}")


def verify(data_dir: Path | None = None, cache_dir: Path | None = None) -> Iterator[Check]:
    """Hashes every file with an official name in the search folders."""
    for folder in folders(data_dir):
        for name, entry in official_files().items():
            if (path := folder / name).is_file():
                yield check_file(path, entry, cache_dir, use_memo=False)


def check_file(path: Path, entry: Official, cache_dir: Path | None = None, *, use_memo: bool = True) -> Check:
    """Compares size and SHA-256 with the published ones; an unchanged file is not hashed again if `use_memo`."""
    advice = f"fetch it again with `offline-mbrl data download {entry.task}`"
    if (size := path.stat().st_size) != entry.bytes:
        return Check(path, False, f"{path} has {size} bytes, the official file has {entry.bytes}; {advice}")
    digest = (_read_memo(path, cache_dir) if use_memo else None) or sha256(path)
    _write_memo(path, digest, cache_dir)
    if digest != entry.sha256:
        return Check(path, False, f"{path} has SHA-256 {digest}, the official file has {entry.sha256}; {advice}")
    return Check(path, True, "")


def import_file(path: Path, data_dir: Path | None = None) -> Path:
    """Copies an official file, whatever it is called, into the first search folder under its official name."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    entry = find_official(path)
    if entry is None:
        raise UserError(f"{path} is none of the official D4RL files: its size and SHA-256 are not in the table of them")
    target = folders(data_dir)[0] / entry.file
    if not (target.exists() and target.samefile(path)):
        advice = "free space there or choose another --data-dir"
        with writing(target, advice), path.open("rb") as source, write_atomically(target) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    return target


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file; `UserError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def find_official(path: Path) -> Official | None:
    """The official file that `path` is a copy of."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    candidates = [entry for entry in official_files().values() if entry.bytes == path.stat().st_size]
    digest = sha256(path) if candidates else ""
    return next((entry for entry in candidates if entry.sha256 == digest), None)


def _advice(task: Task, searched: list[Path], version: str) -> str:
    others = [other for other in VERSIONS if other != version]
    present = [other for other in others for folder in searched if (folder / file_name(task, other)).is_file()]
    if present:
        return f"there is version {present[0]}, another data set: --source d4rl-{present[0]}"
    return f"fetch it with `offline-mbrl data download {task.name}` or name its folder with --data-dir"


def _memo_path(path: Path, cache_dir: Path | None) -> Path:
    return (
        cache_folder(cache_dir) / "verified" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.json"
    )


def _stamp(path: Path) -> Mapping[str, int]:
    return {"bytes": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}


def _read_memo(path: Path, cache_dir: Path | None) -> str | None:
    """The digest of an earlier check, if the file has not changed since."""
    try:
        memo = json.loads(_memo_path(path, cache_dir).read_text())
        digest = memo.pop("sha256")
    except (OSError, ValueError, RecursionError, AttributeError, LookupError, TypeError):
        return None  # there is none, or it is damaged
    return str(digest) if memo == _stamp(path) else None


def _write_memo(path: Path, digest: str, cache_dir: Path | None) -> None:
    try:
        write_text(_memo_path(path, cache_dir), json.dumps({**_stamp(path), "sha256": digest}))
    except OSError:
        return  # a cache that cannot be written costs a second hash next time, no more
