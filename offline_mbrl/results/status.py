"""How far the jobs of a sweep are: state, progress, rate, time left, last score, failures; once or as a live view."""

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from offline_mbrl.errors import UserError
from offline_mbrl.progress import MISSING, duration
from offline_mbrl.results.report.digits import count, plural
from offline_mbrl.storage import records
from offline_mbrl.storage.lock import RUN_LOCK, holder

State = Literal["running", "done", "failed", "stopped", "waiting", "damaged"]
STYLES: dict[State, str] = {
    "running": "cyan",
    "done": "green",
    "failed": "bold red",
    "stopped": "yellow",
    "waiting": "dim",
    "damaged": "bold red",
}
ORDER: tuple[State, ...] = ("failed", "damaged", "running", "stopped", "waiting", "done")
"""What is shown first where there is no room for all."""

HOLDER = re.compile(r"process (\d+) on (\S+)")
LOOK_EVERY = 2.0
"""Seconds between two looks of the live view."""

WIDE = 110
"""Characters of a line from which on there is room for bars and steps."""


class Planned(NamedTuple):
    """A job that a sweep will run: the name of its folder, what it is called here, its seeds and steps."""

    folder: str
    name: str
    seeds: int
    steps: int


@dataclass(frozen=True)
class JobState:
    """Where one job stands; `rate` is in gradient steps a second, None where it cannot be told."""

    name: str
    state: State
    step: int
    steps: int
    seeds: int
    score: float | None = None
    """Mean over seeds of their last evaluation."""
    rate: float | None = None
    problem: str = ""

    @property
    def share(self) -> float:
        return self.step / self.steps if self.steps else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of a running job."""
        return (self.steps - self.step) / self.rate if self.rate and self.state == "running" else None


def read_states(run_dirs: Sequence[Path], planned: Iterable[Planned] = ()) -> list[JobState]:
    """The jobs below `run_dirs`, and those of `planned` that have no folder yet.

    Raises:
        UserError: a folder does not exist, or there is no job and none is planned.
    """
    waiting = list(planned)
    try:
        folders = records.find_jobs(run_dirs)
    except UserError:
        if not waiting or not all(path.is_dir() or not path.exists() for path in run_dirs):
            raise
        folders = []
    known = {folder.name for folder in folders}
    later = [JobState(job.name, "waiting", 0, job.steps, job.seeds) for job in waiting if job.folder not in known]
    return [read_state(folder) for folder in folders] + later


def short_name(algorithm: str, task: str, identity: str) -> str:
    """As `mopo hopper-medium 3f1f`: what a line calls a job."""
    return f"{algorithm} {task} {identity[:4]}"


def read_state(folder: Path) -> JobState:
    """Where the job in `folder` stands; damaged files are its problem, not the reader's."""
    try:
        job = records.read_json(folder / records.JOB)
        scores = records.read_records(folder / records.SCORES)
        diverged = records.diverged_seeds(folder)
    except UserError as error:
        return JobState(folder.name, "damaged", 0, 0, 0, problem=str(error).replace(f"{folder}/", ""))
    step = max((record["step"] for record in scores), default=0)
    last = [record["score"] for record in scores if record["step"] == step and record["score"] is not None]
    return JobState(
        short_name(job["algorithm"], job["task"], job["id"]),
        _state(folder),
        step,
        job["steps"],
        len(job["seeds"]),
        sum(last) / len(last) if last else None,
        _rate(folder, step),
        _problem(folder, diverged),
    )


def show(run_dirs: Sequence[Path], planned: Iterable[Planned] = (), console: Console | None = None) -> None:
    """Prints where every job stands."""
    console = console or Console()
    console.print(view(read_states(run_dirs, planned), console.width >= WIDE))


def watch_jobs(run_dirs: Sequence[Path], planned: Iterable[Planned] = (), console: Console | None = None) -> None:
    """Shows where every job stands, again and again, until none is left to run; without a terminal, changes alone."""
    console, looks = console or Console(), _looks(run_dirs, list(planned))
    if not console.is_terminal:
        _print_changes(looks, console)
        return
    with Live(console=console, auto_refresh=False) as live:
        for states in looks:
            live.update(view(states, console.width >= WIDE, console.height - 4), refresh=True)


def view(states: Sequence[JobState], wide: bool = False, most: int | None = None) -> Group:
    """A line per job and one over all; with `most` lines at most, those that need a look first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("job", no_wrap=True)
    table.add_column("state")
    if wide:
        table.add_column("progress", width=16)
        table.add_column("step", justify="right", no_wrap=True)
    for name in ("done", "steps/s", "left", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = states if most is None else sorted(states, key=lambda state: ORDER.index(state.state))[:most]
    for state in shown:
        table.add_row(*_line(state, wide))
    problems = [Text(f"{state.name}: {state.problem}", style="red") for state in shown if state.problem]
    return Group(table, *problems, summary(states, len(states) - len(shown)))


def summary(states: Sequence[JobState], hidden: int = 0) -> Text:
    """How many jobs are in which state, the share of all steps taken, and the time that the running ones need."""
    counts = Counter(state.state for state in states)
    total = sum(state.steps * state.seeds for state in states)
    taken = sum(state.step * state.seeds for state in states)
    left = max((state.seconds_left or 0.0 for state in states), default=0.0)
    parts = [
        f"{plural(len(states), 'job')}: {', '.join(f'{counts[name]} {name}' for name in STYLES if counts[name])}",
        f"{100 * taken / total if total else 0:.0f} % of all steps",
        *([f"running ones done in {duration(left)}"] if left else []),
        *([f"{hidden} not shown"] if hidden else []),
    ]
    return Text("; ".join(parts), style="bold")


def _line(state: JobState, wide: bool) -> list[Text | str | ProgressBar]:
    cells: list[Text | str | ProgressBar] = [state.name, Text(state.state, style=STYLES[state.state])]
    if wide:
        cells += [ProgressBar(total=1.0, completed=state.share, width=16), f"{state.step:,}/{state.steps:,}"]
    rate = state.rate if state.state == "running" else None
    return [
        *cells,
        f"{100 * state.share:.0f} %",
        count(rate),
        duration(state.seconds_left),
        MISSING if state.score is None else f"{state.score:.1f}",
    ]


def _print_changes(looks: Iterable[Sequence[JobState]], console: Console) -> None:
    before = ""
    for states in looks:
        line = summary(states).plain
        if line != before:
            console.print(line, highlight=False)
        before = line


def _looks(run_dirs: Sequence[Path], planned: Sequence[Planned]) -> Iterator[list[JobState]]:
    """The states, time and again, as long as a job runs or waits."""
    while True:
        states = read_states(run_dirs, planned)
        yield states
        if not any(state.state in ("running", "waiting") for state in states):
            return
        time.sleep(LOOK_EVERY)


def _state(folder: Path) -> State:
    status = records.job_status(folder)
    if status != "unfinished":
        return "done" if status == "finished" else "failed"
    if _is_held(folder):
        return "running"
    return "stopped" if (folder / records.ENVIRONMENT).exists() else "waiting"


def _is_held(folder: Path) -> bool:
    """Whether a process trains there: by the holder's name, since to try the lock could keep a worker from it."""
    found = HOLDER.search(holder(folder / RUN_LOCK))
    if found is None:
        return False
    return found[2] != socket.gethostname() or _is_alive(int(found[1]))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _rate(folder: Path, step: int) -> float | None:
    """Steps a second between the last two checkpoints; before there are two, since the run began, fits included."""
    times = _checkpoint_times(folder / "checkpoints")
    if len(times) > 1:
        (first, began), (last, ended) = times[-2:]
        return (last - first) / (ended - began) if ended > began else None
    with suppress(OSError):
        began, ended = (os.stat(folder / name).st_mtime for name in (records.ENVIRONMENT, records.SCORES))
        return step / (ended - began) if ended > began else None
    return None


def _checkpoint_times(folder: Path) -> list[tuple[int, float]]:
    """Steps of the checkpoints and when they were written."""
    times = []
    with suppress(OSError):
        for entry in os.scandir(folder):
            with suppress(OSError):  # removed meanwhile
                if entry.name.isdecimal():
                    times.append((int(entry.name), entry.stat().st_mtime))
    return sorted(times)


def _problem(folder: Path, diverged: Iterable[int]) -> str:
    lost = ", ".join(map(str, sorted(diverged)))
    problem = f"diverged: seed {lost}" if lost else ""
    with suppress(OSError):
        return (folder / records.FAILED).read_text(encoding="utf-8", errors="replace").strip() or problem
    return problem
