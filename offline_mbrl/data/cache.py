"""Data sets that were made here, kept as one file each: whole, checked when read, built by one process at a time."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from offline_mbrl.data.dataset import DataPhysics, Dataset, Episodes, read_only
from offline_mbrl.storage.files import write_atomically, writing
from offline_mbrl.storage.lock import wait_for
from offline_mbrl.tasks import Task, get_task

LABELS = ("source", "name", "physics")
COLUMNS = ("observations", "actions", "rewards", "discounts", "next_observations", "known_next")
ADVICE = "free space there or point OFFLINE_MBRL_CACHE at another folder"


def cache_folder(folder: Path | None = None) -> Path:
    """`folder`, else $OFFLINE_MBRL_CACHE, else `offline_mbrl` in the user's cache folder."""
    named = folder or os.environ.get("OFFLINE_MBRL_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offline_mbrl"


def load_or_build(path: Path, build: Callable[[], Dataset]) -> Dataset:
    """The data set in `path`, or what `build` returns, which is kept there; a broken file is built again.

    Processes that ask for the same file at the same time wait for the first one to build it.
    """
    with ExitStack() as held:
        with writing(path, ADVICE):
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(wait_for(path.with_suffix(".lock"), path.name))
        dataset = load(path)
        if dataset is None:
            dataset = build()
            save(path, dataset)
    return dataset


def save(path: Path, dataset: Dataset) -> None:
    """Writes one uncompressed archive, whose parts carry their checksums, or nothing at all."""
    parts = {column: getattr(dataset, column) for column in COLUMNS}
    parts |= {f"episodes/{field}": array for field, array in dataset.episodes._asdict().items()}
    parts |= {label: np.array(getattr(dataset, label)) for label in LABELS}
    with writing(path, ADVICE), write_atomically(path) as file:
        np.savez(file, allow_pickle=False, task=np.array(dataset.task.name), **parts)


def load(path: Path) -> Dataset | None:
    """The data set in `path`; None when there is none or its checksums or shapes do not hold."""
    try:
        with ZipFile(path) as archive:
            return _read(archive)
    except Exception:  # of a damaged archive any kind may come; the file is ours and can be made again
        return None


def read_part(archive: ZipFile, name: str) -> NDArray[Any]:
    """The array `name` of an `.npz` archive, never a pickle.

    It is read as a whole: a damaged header that claims fewer bytes than there are would end before the checksum.
    """
    return read_array(BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _read(archive: ZipFile) -> Dataset:
    task = get_task(str(read_part(archive, "task")))
    source, name, physics = (str(read_part(archive, label)) for label in LABELS)
    episodes = Episodes(*(read_part(archive, f"episodes/{field}") for field in Episodes._fields))
    columns = {column: read_only(read_part(archive, column)) for column in COLUMNS}
    _check(columns, task, int(episodes.lengths.sum()))
    return Dataset(task, source, name, cast(DataPhysics, physics), **columns, episodes=episodes)


def _check(columns: dict[str, NDArray[Any]], task: Task, rows: int) -> None:
    widths = {"observations": (task.robot.obs_dim,), "actions": (task.robot.action_dim,)}
    widths["next_observations"] = widths["observations"]
    for name, column in columns.items():
        kind = np.bool_ if name == "known_next" else np.float32
        if column.shape != (rows, *widths.get(name, ())) or column.dtype != kind:
            raise ValueError(f"{name} is {column.dtype} of shape {column.shape}")
