"""The official D4RL files (Fu et al. 2020, arXiv 2004.07219; data CC BY 4.0), read with h5py alone.

Version v2 is meant unless another is named; v0 and v1 came from other policies and share no column with it. What counts
as official is the SHA-256 in `d4rl_files.csv`. A file is hashed when it is downloaded or imported, when it is first
read, and again once its size or time stamp changes; the result is kept in the cache folder, so that reading stays fast.
"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset, from_raw
from offline_mbrl.data.disk import writing
from offline_mbrl.errors import UserError
from offline_mbrl.files import write_atomically, write_text
from offline_mbrl.tasks import Task

VERSIONS = ("v2", "v1", "v0")


class Official(NamedTuple):
    """A file as its authors published it."""

    task: str
    version: str
    file: str
    bytes: int
    sha256: str
    url: str


class Check(NamedTuple):
    """What `verify` found: the file, whether it is official, and the reason when it is not."""

    path: Path
    official: bool
    reason: str


@cache
def official_files() -> dict[str, Official]:
    """The published files of the twelve tasks, v2 and v0, by file name."""
    with (Path(__file__).parent / "d4rl_files.csv").open(newline="") as table:
        next(table)
        return {
            file: Official(task, version, file, int(size), digest, url)
            for task, version, file, size, digest, url in csv.reader(table)
        }


def official_file(task: Task, version: str = "v2") -> Official:
    """The published file of a task; v1 was never published with a checksum."""
    for entry in official_files().values():
        if (entry.task, entry.version) == (task.name, version):
            return entry
    raise UserError(f"no official address of {task.name} {version} is known; v2 has one")


def file_name(task: Task, version: str) -> str:
    """`hopper_medium-v2.hdf5`; the v0 files carry no version, and some have other names."""
    if version == "v0":
        return official_file(task, version).file
    return f"{task.robot.name}_{task.level.replace('-', '_')}-{version}.hdf5"


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


def load_d4rl(task: Task, data_dir: Path | None = None, version: str = "v2", cache_dir: Path | None = None) -> Dataset:
    """The official data set; source `d4rl-<version>`. A file that is not the official one is refused."""
    path = locate(task, data_dir, version)
    if path.name in official_files():
        check = check_file(path, official_files()[path.name], cache_dir)
        if not check.official:
            raise UserError(f"{check.reason}; to use it as it is, name it: --source d4rl:{path}")
    return read(path, task, f"d4rl-{version}")


def load_file(task: Task, path: Path) -> Dataset:
    """A file in D4RL's layout that the user named; its source is `d4rl-unofficial` unless its checksum is published."""
    entry = _published(path)
    if entry and entry.task != task.name:
        raise UserError(f"{path} is the official {entry.task} {entry.version}, not {task.name}")
    return read(path, task, f"d4rl-{entry.version}" if entry else "d4rl-unofficial")


def read(path: Path, task: Task, source: str) -> Dataset:
    """Reads a file of any version: next observations stored or not, rewards [n] or [n, 1], any float type."""
    try:
        with h5py.File(path) as file:
            terminals = _flags(file["terminals"])
            timeouts = _flags(file["timeouts"]) if "timeouts" in file else _timeouts(terminals, task.robot.horizon)
            columns = {name: _floats(file[name]) for name in ("observations", "actions", "rewards")}
            next_obs = _floats(file["next_observations"]) if "next_observations" in file else None
    except KeyError as error:
        raise UserError(f"{path} is not in D4RL's layout: {error.args[0]}") from error
    except OSError as error:
        raise UserError(f"cannot read {path} as HDF5 ({error}); check it with `offline-mbrl data verify`") from error
    return from_raw(
        task,
        source=source,
        name=path.stem.replace("_", "-"),
        physics="d4rl-v2",
        terminals=terminals,
        timeouts=timeouts,
        next_observations=next_obs,
        **columns,
    )


def verify(data_dir: Path | None = None, cache_dir: Path | None = None) -> Iterator[Check]:
    """Hashes every file with an official name in the search folders."""
    for folder in folders(data_dir):
        for name, entry in official_files().items():
            if (path := folder / name).is_file():
                yield check_file(path, entry, cache_dir, remembered=False)


def check_file(path: Path, entry: Official, cache_dir: Path | None = None, *, remembered: bool = True) -> Check:
    """Compares size and SHA-256 with the published ones; an unchanged file is not hashed again if `remembered`."""
    advice = f"fetch it again with `offline-mbrl data download {entry.task}`"
    if (size := path.stat().st_size) != entry.bytes:
        return Check(path, False, f"{path} has {size} bytes, the official file has {entry.bytes}; {advice}")
    digest = (_remembered(path, cache_dir) if remembered else None) or sha256(path)
    _remember(path, digest, cache_dir)
    if digest != entry.sha256:
        return Check(path, False, f"{path} has SHA-256 {digest}, the official file has {entry.sha256}; {advice}")
    return Check(path, True, "")


def import_file(path: Path, data_dir: Path | None = None) -> Path:
    """Copies an official file, whatever it is called, into the first search folder under its official name."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    entry = _published(path)
    if entry is None:
        raise UserError(f"{path} is none of the official D4RL files: its size and SHA-256 are not in the table of them")
    target = folders(data_dir)[0] / entry.file
    if not (target.exists() and target.samefile(path)):
        advice = "free space there or choose another --data-dir"
        with writing(target, advice), path.open("rb") as source, write_atomically(target) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    return target


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _published(path: Path) -> Official | None:
    """The official file that `path` is a copy of."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    candidates = [entry for entry in official_files().values() if entry.bytes == path.stat().st_size]
    digest = sha256(path) if candidates else ""
    return next((entry for entry in candidates if entry.sha256 == digest), None)


def _advice(task: Task, searched: list[Path], version: str) -> str:
    others = [other for other in VERSIONS if other != version]
    found = [other for other in others for folder in searched if (folder / file_name(task, other)).is_file()]
    if found:
        return f"there is version {found[0]}, another data set: --source d4rl-{found[0]}"
    return f"fetch it with `offline-mbrl data download {task.name}` or name its folder with --data-dir"


def _floats(column: h5py.Dataset) -> NDArray[np.float32]:
    """The column as float32, converted while it is read: no copy in the file's own type is held."""
    array = np.empty(column.shape, np.float32)
    if array.size:
        column.read_direct(array)
    return array


def _flags(column: h5py.Dataset) -> NDArray[np.bool_]:
    return np.asarray(column[:]).astype(np.bool_).reshape(-1)


def _timeouts(terminals: NDArray[np.bool_], horizon: int) -> NDArray[np.bool_]:
    """Where a file has no time-out flags: every `horizon` steps after the start or a terminal."""
    rows = np.arange(len(terminals))
    starts = np.where(np.concatenate([[True], terminals[:-1]]), rows, 0)
    elapsed = rows - np.maximum.accumulate(starts) + 1
    timeouts: NDArray[np.bool_] = elapsed % horizon == 0
    return timeouts


def _memo(path: Path, cache_dir: Path | None) -> Path:
    return (
        cache_folder(cache_dir) / "verified" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.json"
    )


def _stamp(path: Path) -> Mapping[str, int]:
    return {"bytes": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}


def _remembered(path: Path, cache_dir: Path | None) -> str | None:
    """The digest of an earlier check, if the file has not changed since."""
    try:
        memo = json.loads(_memo(path, cache_dir).read_text())
    except (OSError, ValueError):
        return None
    return str(memo["sha256"]) if memo == {**_stamp(path), "sha256": memo.get("sha256")} else None


def _remember(path: Path, digest: str, cache_dir: Path | None) -> None:
    try:
        write_text(_memo(path, cache_dir), json.dumps({**_stamp(path), "sha256": digest}))
    except OSError:
        return  # a cache that cannot be written costs a second hash next time, no more
