"""Reads D4RL's HDF5 files with h5py alone."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.d4rl.catalogue import official_files
from offline_mbrl.data.d4rl.files import check_file, locate, published
from offline_mbrl.data.dataset import Dataset, from_raw
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import Task


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
    entry = published(path)
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
