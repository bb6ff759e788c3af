"""Jobs made ready to run: data, what is fitted first, the compiled program, and the states to begin or go on from."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from offline_mbrl.algorithms.algorithm import State
from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset, end_to_end
from offline_mbrl.data.source import load
from offline_mbrl.errors import UserError
from offline_mbrl.machine import visible_devices
from offline_mbrl.nn.precision import computing
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import Report, result_shape
from offline_mbrl.progress import stderr
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training import lanes
from offline_mbrl.training.devices import Layout
from offline_mbrl.training.experiment import lane_keys, pretrain, progress_bar
from offline_mbrl.training.job import Job, Paths
from offline_mbrl.training.loop import Program
from offline_mbrl.training.parts import Lanes, cut, in_parts, make_lanes
from offline_mbrl.training.provenance import describe
from offline_mbrl.training.saving import (
    last_step,
    read_state,
)
from offline_mbrl.training.system import System, configured
from offline_mbrl.training.timing import Stopwatch
from offline_mbrl.types import Data, Key

Started = tuple[Job, Path]
"""A job and its folder."""


class Member(NamedTuple):
    """One job of a program: its folder and which of the program's lanes are its own."""

    job: Job
    out: Path
    lanes: slice

    def system(self) -> System:
        return configured(self.job.algorithm, get_task(self.job.task), self.job.config, self.job.steps)

    def own(self, tree: Any) -> Any:
        """The leaves' rows of this job's lanes."""
        return jax.tree.map(lambda leaf: leaf[self.lanes], tree)


class Source(NamedTuple):
    """One data set, and the jobs that train on it, whose lanes follow each other."""

    dataset: Dataset
    data: Data
    members: list[Member]

    @property
    def lanes(self) -> slice:
        return slice(self.members[0].lanes.start, self.members[-1].lanes.stop)


@dataclass(frozen=True)
class Opened:
    """Jobs with their data, their compiled program, and its states as of `step`."""

    members: list[Member]
    program: Program
    data: Data
    state: State
    step: int
    layout: Layout

    @property
    def job(self) -> Job:
        """One of the jobs: what it says of task, length and evaluation holds for all."""
        return self.members[0].job

    @property
    def seeds(self) -> list[int]:
        """The seed of each lane."""
        return _seeds(self.members)

    def keys(self, purpose: str) -> Key:
        """A key for each lane, on its device."""
        return self.layout.lanes(lane_keys(self.seeds, purpose))


def open_run(job: Job, out: Path, paths: Paths, console: Console | None = None) -> Opened:
    """A job with its last state, at the precision it was trained with; of a finished one the state that was kept."""
    with computing(job.precision):
        return open_jobs([(job, out)], last_saved(out), paths, console or stderr(), Stopwatch(), visible_devices()[:1])


def fit_job(job: Job, name: str, paths: Paths, console: Console | None = None, parts: int = 1) -> None:
    """Makes what `job` calls `name` of the things it has fitted, for its seeds, and keeps it in the cache."""
    with computing(job.precision):
        member = Member(job, Path(), slice(0, len(job.seeds)))
        dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
        _fits(member, dataset, member.system().rows(dataset), paths, console or stderr(), parts, name)


def open_jobs(
    jobs: Sequence[Started],
    step: int,
    paths: Paths,
    console: Console,
    watch: Stopwatch,
    devices: Sequence[jax.Device],
    parts: int = 1,
) -> Opened:
    """Loads the data, reads or makes the fits, compiles, and restores what was saved at `step` or starts afresh."""
    members, finished = _members(jobs), is_finished(jobs[0][1])
    with watch.part("data"):
        sources = _load(members, paths)
    build, period = members[0].system().build, members[0].job.evaluate_every
    whole = make_lanes(build, lanes.numbers([member.job for member in members]), len(_seeds(members)), period)
    if step:
        with watch.part("checkpoint"):
            state = _restore(members, step, _state_shapes(whole.program, members, sources[0].data, finished), finished)
    else:
        with watch.part("fit"):
            state = _concatenate([_start(whole[source.lanes], source, paths, console, parts) for source in sources])
    program, layout = in_parts(whole, parts, devices)
    state = layout.lanes(state) if parts == 1 else jax.device_get(state)
    return Opened(members, program, layout.data(_rows(sources)), state, step, layout)


def last_saved(out: Path) -> int:
    """The step of the newest state in a job's folder, 0 where there is none."""
    return last_step(out, is_finished(out))


def is_finished(out: Path) -> bool:
    """Whether the job of a folder is done."""
    return records.job_status(out) == "finished"


def _members(jobs: Sequence[Started]) -> list[Member]:
    """The jobs with their lanes, those of one data set one after the other."""
    named = [lanes.data_of(job) for job, _ in jobs]
    in_order = sorted(jobs, key=lambda started: named.index(lanes.data_of(started[0])))
    ends = [0, *accumulate(len(job.seeds) for job, _ in in_order)]
    return [Member(job, out, slice(*ends[row : row + 2])) for row, (job, out) in enumerate(in_order)]


def _seeds(members: Iterable[Member]) -> list[int]:
    return [seed for member in members for seed in member.job.seeds]


def _load(members: Sequence[Member], paths: Paths) -> list[Source]:
    """The data sets of the jobs, each once."""
    sources = []
    for _, group in groupby(members, key=lambda member: lanes.data_of(member.job)):
        own = list(group)
        job = own[0].job
        dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
        for member in own:
            _record_environment(member, dataset)
        sources.append(Source(dataset, own[0].system().rows(dataset), own))
    return sources


def _start(whole: Lanes, source: Source, paths: Paths, console: Console, parts: int) -> State:
    """The first states of the lanes that train on one data set: what looks at all of its rows does so here."""
    fits = [_fits(member, source.dataset, source.data, paths, console, parts) for member in source.members]
    program, _ = in_parts(whole, parts, visible_devices()[:1])
    return program.init(lane_keys(_seeds(source.members), "init"), source.data, _concatenate(fits))


def _rows(sources: Sequence[Source]) -> Data:
    """The rows of all lanes, and whose they are."""
    return end_to_end([source.data for source in sources], [len(_seeds(source.members)) for source in sources])


def _state_shapes(program: Program, members: Sequence[Member], data: Data, finished: bool) -> State:
    """What was saved of all lanes, without values: neither the fits nor what `init` computes is made again."""
    keys, pretraining = lane_keys(_seeds(members), "init"), members[0].system().pretraining
    fits = {name: result_shape(one, data, len(_seeds(members))) for name, one in pretraining.items()}
    shapes = jax.eval_shape(program.init, keys, data, fits)
    return jax.eval_shape(program.conclude, shapes) if finished else shapes


def _record_environment(member: Member, dataset: Dataset) -> None:
    """Writes what the run began with, once, and refuses to go on with other data."""
    before = records.read_json(member.out / records.ENVIRONMENT)
    if before is None:
        records.write_json(member.out / records.ENVIRONMENT, describe(member.job.precision, dataset))
    elif before["dataset"]["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"{member.out} was begun on other data than {dataset.name} is now (fingerprints differ); choose another "
            "--out"
        )


def _fits(
    member: Member, dataset: Dataset, data: Data, paths: Paths, console: Console, parts: int, name: str | None = None
) -> Mapping[str, Any]:
    """What the job's seeds need before their first step, or what is called `name` of it, read or made."""

    def report(title: str, pretraining: Pretraining) -> AbstractContextManager[Report]:
        return progress_bar(title, pretraining, console)

    job, folder = member.job, cache_folder(paths.cache)
    for seeds in cut(job.seeds, parts) if parts > 1 else []:  # kept seed by seed, so that all are read below
        pretrain(member.system(), dataset, seeds, folder, job.precision, report, data, name)
    return pretrain(member.system(), dataset, job.seeds, folder, job.precision, report, data, name).of(job.seeds)


def _restore(members: Sequence[Member], step: int, shapes: State, finished: bool) -> State:
    """The states of all lanes from the folders of their jobs."""
    return _concatenate(
        [
            read_state(member.out, step, jax.tree.map(partial(_rows_of, len(member.job.seeds)), shapes), finished)
            for member in members
        ]
    )


def _rows_of(rows: int, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype)


def _concatenate(trees: Sequence[Any]) -> Any:
    """Trees of lanes end to end, in the host's memory where they lie there."""
    return trees[0] if len(trees) == 1 else jax.tree.map(_end_to_end, *trees)


def _end_to_end(*leaves: Any) -> Any:
    on_host = all(isinstance(leaf, np.ndarray) for leaf in leaves)
    return np.concatenate(leaves) if on_host else jnp.concatenate(leaves)
