"""The official D4RL files of the twelve tasks (Fu et al. 2020, arXiv 2004.07219; data CC BY 4.0).

Version v2 is meant unless another is named; v0 and v1 came from other policies and share no column with it.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from offline_mbrl.errors import UserError
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


class Returns(NamedTuple):
    """Undiscounted returns of an official file's episodes."""

    mean: float
    std: float  # population standard deviation
    episodes: int


OFFICIAL_RETURNS = {
    "halfcheetah-medium": Returns(4770.3, 355.8, 1000),
    "hopper-medium": Returns(1422.1, 379.0, 2186),
    "walker2d-medium": Returns(2852.1, 1095.4, 1190),
    "halfcheetah-medium-replay": Returns(3093.3, 1680.7, 202),
    "hopper-medium-replay": Returns(467.3, 511.0, 2041),
    "walker2d-medium-replay": Returns(682.7, 896.0, 1093),
}
"""Of the v2 files, as the logs of Decision Transformer's code (Chen et al. 2021, arXiv 2106.01345) print them.

A last episode that the file's end cuts is one of them there.
"""


@cache
def official_files() -> dict[str, Official]:
    """The published files of the twelve tasks, v2 and v0, by file name."""
    with (Path(__file__).parent / "files.csv").open(newline="") as table:
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
