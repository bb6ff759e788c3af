"""Reads D4RL's HDF5 files with h5py alone."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.d4rl.catalogue import official_files
from offline_mbrl.data.d4rl.files import check_file, find_official, locate
from offline_mbrl.data.d4rl.hdf5 import check_numbers, find_array, open_hdf5, read_floats
from offline_mbrl.data.dataset import MOST_ROWS, DataPhysics, Dataset, from_raw
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import DEFAULT_PHYSICS, Task

FLOATS = ("observations", "actions", "rewards", "next_observations")
FLAGS = ("terminals", "timeouts")
OPTIONAL = ("next_observations", "timeouts")
UNOFFICIAL = "d4rl-unofficial"
"""The source of a file that only has D4RL's layout: who made it, and under which physics, is not known."""


def load_d4rl(task: Task, data_dir: Path | None = None, version: str = "v2", cache_dir: Path | None = None) -> Dataset:
    """The official data set; source `d4rl-<version>`. A file that is not the official one is refused.

    The v1 files were published without checksums: one that is found is read as unofficial.
    """
    path = locate(task, data_dir, version)
    if path.name not in official_files():
        return read(path, task, UNOFFICIAL, "unknown")
    check = check_file(path, official_files()[path.name], cache_dir)
    if not check.official:
        raise UserError(f"{check.reason}; to use it as it is, name it: --source d4rl:{path}")
    return read(path, task, f"d4rl-{version}")


def load_file(task: Task, path: Path) -> Dataset:
    """A file in D4RL's layout that the user named; official if its checksum is published, else of unknown origin."""
    entry = find_official(path)
    if entry is None:
        return read(path, task, UNOFFICIAL, "unknown")
    if entry.task != task.name:
        raise UserError(f"{path} is the official {entry.task} {entry.version}, not {task.name}")
    return read(path, task, f"d4rl-{entry.version}")


def read(path: Path, task: Task, source: str, physics: DataPhysics = DEFAULT_PHYSICS) -> Dataset:
    """Reads a file of any version: next observations stored or not, rewards [n] or [n, 1], any type of numbers."""
    with open_hdf5(path) as file:
        arrays = _arrays(file, task)
        terminals = arrays["terminals"][:].reshape(-1)
        timeouts = arrays["timeouts"][:].reshape(-1) if "timeouts" in arrays else _timeouts(terminals, task)
        columns = {name: read_floats(arrays[name]) for name in FLOATS if name in arrays}
    return from_raw(
        task,
        source=source,
        name=path.stem.replace("_", "-"),
        physics=physics,
        terminals=terminals,
        timeouts=timeouts,
        **columns,
    )


def _arrays(file: h5py.File, task: Task) -> dict[str, h5py.Dataset]:
    """The columns of D4RL's layout that the file holds, all of one length and of the task's widths."""
    found = {name: find_array(file, name) for name in (*FLOATS, *FLAGS)}
    arrays = {name: array for name, array in found.items() if array is not None}
    missing = [name for name in found if name not in arrays and name not in OPTIONAL]
    if missing:
        raise UserError(f"{file.filename} is not in D4RL's layout: it holds no {missing[0]}")
    for array in arrays.values():
        check_numbers(array)
    rows = (*arrays["observations"].shape, 0)[0]
    for name, array in arrays.items():
        _check_shape(file, name, array, rows, task)
    return arrays


def _check_shape(file: h5py.File, name: str, array: h5py.Dataset, rows: int, task: Task) -> None:
    widths = {"actions": task.robot.action_dim, "rewards": 1, "terminals": 1, "timeouts": 1}
    width = widths.get(name, task.robot.obs_dim)
    fits = array.shape == (rows, width) or (width == 1 and array.shape == (rows,))
    if not (fits and 1 <= rows <= MOST_ROWS):
        raise UserError(
            f"{file.filename}: {name} have shape {array.shape}; {task.name} needs (rows, {width}), the same 1 to "
            f"{MOST_ROWS:,} rows in every array"
        )


def _timeouts(terminals: NDArray[np.generic], task: Task) -> NDArray[np.bool_]:
    """Where a file has no time-out flags: every `horizon` steps after the start or a terminal."""
    rows = np.arange(len(terminals))
    starts = np.where(np.concatenate([[True], terminals[:-1] != 0]), rows, 0)
    elapsed = rows - np.maximum.accumulate(starts) + 1
    timeouts: NDArray[np.bool_] = elapsed % task.robot.horizon == 0
    return timeouts
