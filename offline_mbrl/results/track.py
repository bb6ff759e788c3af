"""Records of runs in other people's trackers: TensorBoard, Weights & Biases, trackio.

They are fed from the files alone, so a finished run can be sent later and a resumed one as a whole. A run has one line
per seed (and way of acting): its id is that of the job and the seed, so what was sent before is replaced.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from offline_mbrl.errors import UserError, warn
from offline_mbrl.storage import records

LOOK_EVERY = 5.0
"""Seconds between two looks at the files of a run that trains."""

Point = tuple[int, dict[str, float]]
"""A number of gradient steps, and what was measured then."""


class Line(NamedTuple):
    """What a tracker calls a run: one seed of a job."""

    id: str
    name: str
    group: str
    config: Mapping[str, Any]
    points: list[Point]


class Sink(Protocol):
    """A tracker's way in."""

    def log(self, line: Line, points: Sequence[Point]) -> None:
        """Takes further points of a line, in order of their steps."""

    def close(self) -> None:
        """Sends what is left."""


def lines_of(folder: Path) -> list[Line]:
    """The lines of one job, from its records; none before it has been evaluated."""
    job = records.read_json(folder / records.JOB)
    if job is None:
        return []
    found: dict[tuple[int, int], dict[str, float]] = {}
    for record in records.read_records(folder / records.METRICS):
        for name, value in record.items():
            if name not in ("seed", "step") and value is not None:
                found.setdefault((record["seed"], record["step"]), {})[f"train/{name}"] = float(value)
    for record in records.read_records(folder / records.SCORES):
        variant = f"_{record['variant']}" if record.get("variant") else ""
        if record["score"] is not None:
            found.setdefault((record["seed"], record["step"]), {})[f"eval/score{variant}"] = float(record["score"])
    group = f"{job['algorithm']}-{job['task']}"
    config = {name: value for name, value in job.items() if name not in ("seeds", "files")}
    return [
        Line(
            f"{job['id']}-{seed}",
            f"{group}-{job['id'][:4]}-seed{seed}",
            group,
            config | {"seed": seed},
            sorted(((step, values) for (own, step), values in found.items() if own == seed), key=_step),
        )
        for seed in job["seeds"]
    ]


def send(runs: Sequence[Path], to: str, out: Path, project: str) -> str:
    """Sends all runs below `runs` and says how many.

    Raises:
      UserError: there are none, or the tracker's package is missing.
    """
    lines = [line for folder in records.find_jobs(runs) for line in lines_of(folder) if line.points]
    sink = open_sink(to, out, project)
    try:
        for line in lines:
            sink.log(line, line.points)
    finally:
        sink.close()
    return f"{len(lines)} seeds sent to {to}{f', {out}' if to == 'tensorboard' else f', project {project}'}"


@contextmanager
def follow(folder: Path, trackers: Sequence[str], out: Path, project: str) -> Iterator[None]:
    """Within the block, sends what appears in a run's folder; what goes wrong is a warning and ends the sending."""
    sinks = [open_sink(name, out / name, project) for name in trackers]
    done = threading.Event()
    threads = [threading.Thread(target=_feed, args=(folder, sink, done), daemon=True) for sink in sinks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(timeout=60)


def _feed(folder: Path, sink: Sink, done: threading.Event) -> None:
    sent: dict[str, int] = {}
    try:
        while True:
            last = done.wait(LOOK_EVERY)
            for line in lines_of(folder):
                more = [point for point in line.points if point[0] > sent.get(line.id, 0)]
                if more:
                    sink.log(line, more)
                    sent[line.id] = more[-1][0]
            if last:
                sink.close()
                return
    except Exception as error:  # whatever a network or another package does: training goes on
        warn(f"tracking stopped: {' '.join(f'{type(error).__name__}: {error}'.split())[:200]}")


def open_sink(name: str, out: Path, project: str) -> Sink:
    """The tracker `name`; `UserError` where its package is missing."""
    try:
        return SINKS[name](out, project)
    except ImportError as error:
        raise UserError(f"{name} is not installed ({error}); pip install 'offline-mbrl[{name}]'") from error


class TensorBoard:
    """Event files, a folder for each line."""

    def __init__(self, out: Path, project: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._out, self._event, self._summary, self._writer = out, Event, Summary, EventFileWriter
        self._writers: dict[str, Any] = {}

    def log(self, line: Line, points: Sequence[Point]) -> None:
        """Appends; what an earlier sending wrote of the line is removed first."""
        if line.id not in self._writers:
            folder = self._out / line.name
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
            self._writers[line.id] = self._writer(str(folder))
        for step, values in points:
            summary = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            event = self._event(step=step, summary=self._summary(value=summary))
            self._writers[line.id].add_event(event)
        self._writers[line.id].flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class WandbLike:
    """Weights & Biases, or what has its interface: one run at a time."""

    def __init__(self, module: Any, project: str, options: Callable[[Line], dict[str, Any]]) -> None:
        self._module, self._project, self._options = module, project, options
        self._line = ""
        self._run: Any = None

    def log(self, line: Line, points: Sequence[Point]) -> None:
        """Opens the line's run where another one was open, and appends to it."""
        if self._line != line.id:
            self.close()
            about = {"project": self._project, "name": line.name, "group": line.group, "config": dict(line.config)}
            self._run, self._line = self._module.init(**about, **self._options(line)), line.id
        for step, values in points:
            self._module.log(values, step=step)

    def close(self) -> None:
        if self._run is not None:
            self._module.finish()
        self._line, self._run = "", None


def _wandb(out: Path, project: str) -> Sink:
    import wandb

    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_SILENT", "true")
    return WandbLike(wandb, project, lambda line: {"id": line.id, "resume": "allow", "dir": str(out)})


def _trackio(out: Path, project: str) -> Sink:
    import trackio

    return WandbLike(trackio, project, lambda line: {"resume": "allow"})


SINKS: dict[str, Callable[[Path, str], Sink]] = {"tensorboard": TensorBoard, "wandb": _wandb, "trackio": _trackio}


def _step(point: Point) -> int:
    return point[0]
