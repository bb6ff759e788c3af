"""Films of policies that lie in the folders of runs, as text that a page can hold."""

from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from offline_mbrl.results.report.gather import JobFolder

BUDGET = 4_000_000
"""Bytes of all films together; those that do not fit are named."""


class Film(NamedTuple):
    """One film: whose it is, its file's name, and the file itself, empty where it did not fit."""

    job: str
    name: str
    data: str


def films(jobs: Iterable[JobFolder], budget: int = BUDGET) -> list[Film]:
    """The films of `video/*.mp4` in the folders, in order, as far as they fit into `budget` bytes."""
    found = []
    for job in jobs:
        for path in sorted((job.folder / "video").glob("*.mp4")):
            size = path.stat().st_size
            fits = size <= budget
            budget -= size if fits else 0
            found.append(Film(job.name, path.name, _as_text(path) if fits else ""))
    return found


def _as_text(path: Path) -> str:
    return f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"
