"""What a sweep hands out: calls of the worker, how they end, and what is said of a job in the end."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from offline_mbrl.errors import UserError
from offline_mbrl.stopping import SAVE_EVERY
from offline_mbrl.training.job import Job, Paths


@dataclass(frozen=True)
class Options:
    """How jobs are run; nothing of it moves a number but the device and, by rounding, the lanes."""

    device: str = "auto"
    save_every: float = SAVE_EVERY  # seconds between checkpoints
    lanes: bool = True  # jobs that can train in one program do
    accelerated: bool = False  # slots are accelerators, which lanes fill, and not cores, which they crowd


DEFAULT = Options()


@dataclass(frozen=True)
class Task:
    """What one worker does: it trains the jobs of a group, or fits what several groups need.

    `needs` are the names of the tasks that must have ended before. `cost` is in seconds, `memory` in bytes, both
    estimates. `parts` is by how many the lanes are divided, which then train one part after the other.
    """

    name: str
    jobs: tuple[Job, ...]
    fit: str | None = None
    needs: frozenset[str] = frozenset()
    cost: float = 0.0
    memory: int = 0
    parts: int = 1

    @property
    def lanes(self) -> int:
        return sum(len(job.seeds) for job in self.jobs)


@dataclass(frozen=True)
class Call:
    """One attempt at a task: the worker's arguments, its jobs' folders, and what it is expected to hold."""

    name: str
    folders: tuple[Path, ...]
    arguments: tuple[str, ...]
    memory: int = 0

    @property
    def log(self) -> Path:
        """Where the worker's output goes when it has no terminal."""
        return self.folders[0] / "log.txt"


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: the worker's code, negative where a signal killed it, None where its machine was lost."""

    code: int | None
    memory: bool = False
    """Whether it was killed for memory."""
    cancelled: bool = False
    """Whether somebody took the job out of the engine's queue."""
    note: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether the work was cut off by what is no fault of its own."""
        return self.code is None or self.code < 0


@dataclass(frozen=True)
class Outcome:
    """How one job of a sweep ended."""

    job: Job
    folder: Path
    problem: str | None  # None when every seed is sound
    skipped: bool = False


def call(task: Task, paths: Paths, options: Options, folders: tuple[Path, ...]) -> Call:
    """The worker's call for those jobs of `task` that are in `folders`."""
    arguments = ["--device", options.device, "--checkpoint-every", str(options.save_every)]
    arguments += ["--cache-dir", str(paths.cache.absolute())] if paths.cache else []
    arguments += ["--data-dir", str(paths.data.absolute())] if paths.data else []
    arguments += ["--parts", str(task.parts)] if task.parts > 1 else []
    arguments += ["--fit", task.fit] if task.fit else []
    return Call(task.name, folders, (*map(str, folders), *arguments), task.memory)


def refuse_twins(names: Iterable[str]) -> None:
    """Raises `UserError` where a name is there twice."""
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise UserError(f"{twins[0]} is named twice; leave one of the two out")
