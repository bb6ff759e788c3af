"""Seconds to generate, load and read data sets of D4RL's size. Run it on a machine that does nothing else."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
import tyro

from offline_mbrl.data.builtin.recipe import load_builtin
from offline_mbrl.data.d4rl.reader import read
from offline_mbrl.machine import available_cores
from offline_mbrl.tasks import get_task
from offline_mbrl.training.timing import process_memory

T = TypeVar("T")


def timed(label: str, work: Callable[[], T]) -> T:
    """Runs `work` and prints how long it took."""
    start = time.perf_counter()
    value = work()
    print(f"{label:<50} {time.perf_counter() - start:7.2f} s", flush=True)
    return value


def write_official_layout(path: Path, rows: int) -> float:
    """A compressed file in D4RL's v2 layout with half-cheetah shapes; returns the GiB of its arrays."""
    generator = np.random.default_rng(0)
    obs = generator.normal(size=(rows + 1, 17)).astype(np.float32)
    columns = {
        "observations": obs[:-1],
        "next_observations": obs[1:],
        "actions": generator.uniform(-1, 1, (rows, 6)).astype(np.float32),
        "rewards": generator.normal(size=rows).astype(np.float32),
        "terminals": np.zeros(rows, np.bool_),
        "timeouts": np.arange(1, rows + 1) % 1000 == 0,
    }
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, compression="gzip")
    return sum(column.nbytes for column in columns.values()) / 2**30


def peak() -> float:
    """Peak memory of this process so far [GiB]."""
    return (process_memory() or 0) / 2**30


def main(tasks: tuple[str, ...] = ("hopper-medium", "halfcheetah-medium"), rows: int = 1_000_000) -> None:
    """Times generation and loading of `rows` rows of each builtin task, and the reading of 2 * `rows` in HDF5.

    Args:
        tasks: the builtin sets to generate.
        rows: transitions of each; D4RL's number by default.
    """
    print(f"{available_cores()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for name in tasks:
            for label in ("generated", "loaded from the cache"):
                timed(f"{name}, {rows:,} rows {label}", lambda: load_builtin(get_task(name), rows, cache=Path(folder)))  # noqa: B023
        path = Path(folder) / "halfcheetah_medium_expert-v2.hdf5"
        size = write_official_layout(path, 2 * rows)
        task = get_task("halfcheetah-medium-expert")
        timed(f"HDF5, {2 * rows:,} rows read ({size:.2f} GiB of arrays)", lambda: read(path, task, "d4rl-unofficial"))
    print(f"peak memory of all {peak():.2f} GiB")


if __name__ == "__main__":
    tyro.cli(main)
