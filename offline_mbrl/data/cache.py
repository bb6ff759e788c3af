"""Data sets that were made here, kept as one file each: whole, checked when read, built by one process at a time."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from offline_mbrl.data.dataset import DataPhysics, Dataset, Episodes, read_only
from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import write_atomically, writing
from offline_mbrl.tasks import get_task

LABELS = ("source", "name", "physics")
COLUMNS = ("observations", "actions", "rewards", "discounts", "next_observations")
ADVICE = "free space there or point OFFLINE_MBRL_CACHE at another folder"
BROKEN = (BadZipFile, EOFError, KeyError, OSError, ValueError, UserError)


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
    lock = FileLock(path.with_suffix(".lock"))
    with writing(path, ADVICE):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        dataset = load(path)
        if dataset is None:
            dataset = build()
            save(path, dataset)
    finally:
        lock.release()
    return dataset


def save(path: Path, dataset: Dataset) -> None:
    """Writes one uncompressed archive, whose parts carry their checksums, or nothing at all."""
    parts = {column: getattr(dataset, column) for column in COLUMNS}
    parts |= {f"episodes/{field}": array for field, array in dataset.episodes._asdict().items()}
    parts |= {label: np.array(getattr(dataset, label)) for label in LABELS}
    with writing(path, ADVICE), write_atomically(path) as file:
        np.savez(file, allow_pickle=False, task=np.array(dataset.task.name), **parts)


def load(path: Path) -> Dataset | None:
    """The data set in `path`; None when there is none or its checksums do not hold."""
    try:
        with path.open("rb") as file, np.load(file) as archive:
            obs, act, reward, discount, next_obs = (read_only(archive[column]) for column in COLUMNS)
            episodes = Episodes(*(archive[f"episodes/{field}"] for field in Episodes._fields))
            labels = {label: str(archive[label]) for label in LABELS}
            physics = cast(DataPhysics, labels["physics"])
            task = get_task(str(archive["task"]))
    except BROKEN:
        return None
    return Dataset(task, labels["source"], labels["name"], physics, obs, act, reward, discount, next_obs, episodes)
