"""Jobs made ready to run: data, what is fitted first, the compiled program, and the states to begin or go on from."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console

from offline_mbrl.algorithms.algorithm import State
from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.source import load
from offline_mbrl.errors import UserError
from offline_mbrl.nn.precision import computing
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import Report, result_shape
from offline_mbrl.progress import stderr
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training import lanes
from offline_mbrl.training.experiment import lane_keys, pretrain, progress_bar
from offline_mbrl.training.job import Job, Paths
from offline_mbrl.training.loop import Program, compile_lanes
from offline_mbrl.training.parts import cut, in_parts
from offline_mbrl.training.provenance import describe
from offline_mbrl.training.saving import (
    last_step,
    read_state,
)
from offline_mbrl.training.system import System, configured
from offline_mbrl.training.timing import Stopwatch
from offline_mbrl.types import Data


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


@dataclass(frozen=True)
class Opened:
    """Jobs with their data, their compiled program, and its states as of `step`."""

    members: list[Member]
    program: Program
    data: Data
    state: State
    step: int

    @property
    def job(self) -> Job:
        """One of the jobs: what it says of task, length and evaluation holds for all."""
        return self.members[0].job

    @property
    def seeds(self) -> list[int]:
        """The seed of each lane."""
        return [seed for member in self.members for seed in member.job.seeds]


def open_run(job: Job, out: Path, paths: Paths, console: Console | None = None) -> Opened:
    """A job with its last state, at the precision it was trained with; of a finished one the state that was kept."""
    with computing(job.precision):
        return open_jobs([(job, out)], last_saved(out), paths, console or stderr(), Stopwatch())


def fit_job(job: Job, name: str, paths: Paths, console: Console | None = None, parts: int = 1) -> None:
    """Makes what `job` calls `name` of the things it has fitted, for its seeds, and keeps it in the cache."""
    with computing(job.precision):
        member = Member(job, Path(), slice(0, len(job.seeds)))
        dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
        _fits(member, dataset, member.system().rows(dataset), paths, console or stderr(), parts, name)


def open_jobs(
    jobs: Sequence[tuple[Job, Path]], step: int, paths: Paths, console: Console, watch: Stopwatch, parts: int = 1
) -> Opened:
    """Loads the data, reads or makes the fits, compiles, and restores what was saved at `step` or starts afresh."""
    first, finished = jobs[0][0], is_finished(jobs[0][1])
    ends = [0, *accumulate(len(job.seeds) for job, _ in jobs)]
    members = [Member(job, out, slice(*ends[row : row + 2])) for row, (job, out) in enumerate(jobs)]
    with watch.part("data"):
        dataset = load(first.task, first.source, first.size, first.physics, paths.data, paths.cache)
        for member in members:
            _record_environment(member, dataset)
        data = members[0].system().rows(dataset)
    build, numbers = members[0].system().build, lanes.numbers([member.job for member in members])
    program = compile_lanes(build, numbers, first.evaluate_every)
    opened = Opened(members, program, data, None, step)
    keys = lane_keys(opened.seeds, "init")
    if step:
        # Shapes are enough to read a checkpoint by: neither the fits nor what `init` computes is made again.
        shapes = jax.eval_shape(program.init, keys, data, _fit_shapes(opened, data))
        shapes = jax.eval_shape(program.conclude, shapes) if finished else shapes
        with watch.part("checkpoint"):
            state = _restore(members, step, shapes, finished)
        return Opened(members, in_parts(program, build, numbers, len(opened.seeds), parts), data, state, step)
    with watch.part("fit"):
        fits = [_fits(member, dataset, data, paths, console, parts) for member in members]
        program = in_parts(program, build, numbers, len(opened.seeds), parts)
        return Opened(members, program, data, program.init(keys, data, _concatenate(fits)), 0)


def last_saved(out: Path) -> int:
    """The step of the newest state in a job's folder, 0 where there is none."""
    return last_step(out, is_finished(out))


def is_finished(out: Path) -> bool:
    """Whether the job of a folder is done."""
    return records.job_status(out) == "finished"


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


def _fit_shapes(opened: Opened, data: Data) -> Mapping[str, Any]:
    """Shapes and types of the fits of all lanes."""
    fits = opened.members[0].system().pretraining
    return {name: result_shape(pretraining, data, len(opened.seeds)) for name, pretraining in fits.items()}


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
    """Trees of lanes end to end."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)
