"""Jobs from their data to their last score: fits, the loop, evaluations, records, checkpoints, the mark of the end.

Several jobs that differ in seeds and numbers alone train in one program, as its lanes; each keeps its own folder.

A kill costs what was done since the last checkpoint, and no more: a run that starts again drops the records beyond it.
Each draw depends on the seed and the step alone, so on the same device it ends as if it had never stopped.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from offline_mbrl.algorithms.algorithm import State
from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.source import load
from offline_mbrl.errors import UserError
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import Report, result_shape
from offline_mbrl.progress import progress
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.stopping import SAVE_EVERY, at_safe_points, stop_here, stop_requested
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training import lanes
from offline_mbrl.training.divergence import (
    Divergence,
    all_diverged,
    diverging,
    read_divergences,
    write_divergences,
)
from offline_mbrl.training.experiment import lane_keys, matmul_precision, pretrain, progress_bar
from offline_mbrl.training.job import Job, Paths, claim
from offline_mbrl.training.loop import Period, Program, compile_lanes, periods
from offline_mbrl.training.parts import cut, in_parts
from offline_mbrl.training.provenance import describe
from offline_mbrl.training.saving import (
    CHECKPOINTS,
    Saver,
    drop_checkpoints,
    last_step,
    read_state,
    save_final,
)
from offline_mbrl.training.scoring import Record, metric_records, score_lanes
from offline_mbrl.training.system import System, configured
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


def run_job(
    job: Job, out: Path, paths: Paths, console: Console | None = None, save_every: float = SAVE_EVERY
) -> list[Divergence]:
    """Runs `job` in the folder `out`, or goes on with it, or returns at once where it is done.

    Returns:
      The seeds that diverged; the others' results are kept.

    Raises:
      UserError: the folder cannot be written or belongs to another run, the data or a name is wrong, a checkpoint is
        damaged, or every seed diverged.
    """
    (diverged,) = run_jobs([(job, out)], paths, console, save_every)
    if len(diverged) == len(job.seeds):
        raise all_diverged(diverged)
    return diverged


def run_jobs(
    jobs: Sequence[tuple[Job, Path]],
    paths: Paths,
    console: Console | None = None,
    save_every: float = SAVE_EVERY,
    parts: int = 1,
) -> list[list[Divergence]]:
    """Runs jobs of one group (`lanes.group`), each in its folder, as the lanes of one program.

    Jobs that are done are left alone; jobs at different steps run one after the other. Checkpoints are `save_every`
    seconds apart. With several `parts` only a part of the lanes is on the device at a time.

    Returns:
      For each job the seeds that diverged. A job all of whose seeds did is not marked as done.

    Raises:
      UserError: as `run_job`, but for divergence.
    """
    console = console or Console(stderr=True)
    for job, out in jobs:
        claim(out, job)
    waiting = [(job, out) for job, out in jobs if records.job_status(out) != "finished"]
    diverged: dict[Path, list[Divergence]] = {}
    with matmul_precision(jobs[0][0].precision):
        at_step = sorted(((_last_step(out), (job, out)) for job, out in waiting), key=itemgetter(0))
        for step, started in groupby(at_step, key=itemgetter(0)):
            opened = _open([each for _, each in started], step, paths, console, parts)
            diverged |= _train(opened, console, save_every)
    for _, out in jobs:
        if records.job_status(out) == "finished":
            drop_checkpoints(out)
    return [diverged.get(out, []) for _, out in jobs]


def open_run(job: Job, out: Path, paths: Paths, console: Console | None = None) -> Opened:
    """A job with its last state, at the precision it was trained with; of a finished one the state that was kept."""
    with matmul_precision(job.precision):
        return _open([(job, out)], _last_step(out), paths, console or Console(stderr=True))


def fit_job(job: Job, name: str, paths: Paths, console: Console | None = None, parts: int = 1) -> None:
    """Makes what `job` calls `name` of the things it has fitted, for its seeds, and keeps it in the cache."""
    with matmul_precision(job.precision):
        member = Member(job, Path(), slice(0, len(job.seeds)))
        dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
        _fits(member, dataset, member.system().rows(dataset), paths, console or Console(stderr=True), parts, name)


def _open(jobs: Sequence[tuple[Job, Path]], step: int, paths: Paths, console: Console, parts: int = 1) -> Opened:
    """Loads the data, reads or makes the fits, compiles, and restores what was saved at `step` or starts afresh."""
    first, finished = jobs[0][0], _finished(jobs[0][1])
    ends = [0, *accumulate(len(job.seeds) for job, _ in jobs)]
    members = [Member(job, out, slice(*ends[row : row + 2])) for row, (job, out) in enumerate(jobs)]
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
        state = _restore(members, step, shapes, finished)
        return Opened(members, in_parts(program, build, numbers, len(opened.seeds), parts), data, state, step)
    fits = [_fits(member, dataset, data, paths, console, parts) for member in members]
    program = in_parts(program, build, numbers, len(opened.seeds), parts)
    return Opened(members, program, data, program.init(keys, data, _concatenate(fits)), 0)


def _last_step(out: Path) -> int:
    return last_step(out, _finished(out))


def _finished(out: Path) -> bool:
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


def _train(opened: Opened, console: Console, save_every: float) -> dict[Path, list[Divergence]]:
    """The periods of training and evaluation, from the last checkpoints on; what diverged, by folder."""
    job, members = opened.job, opened.members
    diverged = {member.out: _resume_records(member, opened.step) for member in members}
    savers = {member.out: Saver(member.out, save_every) for member in members}
    simulator = Simulator(get_task(job.task).robot, len(opened.seeds) * job.episodes, job.physics)
    keys = lane_keys(opened.seeds, "train")
    with at_safe_points(), progress(_title(opened), job.steps, opened.step, console) as tick, _closing(savers.values()):
        stop_here()
        for period in periods(opened.program, opened.state, opened.data, keys, opened.step, job.steps):
            for member in members:
                diverged[member.out] += _note_divergence(member, period, diverged[member.out], savers[member.out])
            if all(len(diverged[member.out]) == len(member.job.seeds) for member in members):
                break
            scores = _score(opened, period, simulator)
            noted = [_record(member, period, scores[member.lanes], diverged[member.out]) for member in members]
            tick(period.step, f"score {np.mean([score for scores in noted for score in scores]):.1f}")
            if period.step == job.steps:
                _conclude(opened, period, diverged)
            else:
                _save_if_due(members, period, savers)
    return diverged


def _save_if_due(members: Sequence[Member], period: Period, savers: Mapping[Path, Saver]) -> None:
    """A checkpoint by the clock, or because a stop was asked for, which is then heeded."""
    stopping = stop_requested() is not None
    for member in members:
        if stopping or savers[member.out].due:
            savers[member.out].save(period.step, _own_state(members, member, period.state))
    stop_here()


def _conclude(opened: Opened, period: Period, diverged: Mapping[Path, list[Divergence]]) -> None:
    """Keeps of every job with a sound seed what acting needs, and marks it as done."""
    state = opened.program.conclude(period.state)
    for member in opened.members:
        if len(diverged[member.out]) < len(member.job.seeds):
            save_final(member.out, period.step, _own_state(opened.members, member, state))
            records.write_json(member.out / records.DONE, {"steps": period.step})


def _own_state(members: Sequence[Member], member: Member, state: State) -> State:
    return state if len(members) == 1 else member.own(state)


@contextmanager
def _closing(savers: Iterable[Saver]) -> Iterator[None]:
    """Closes all in the end, so that what is being written is in place."""
    with ExitStack() as stack:
        for saver in savers:
            stack.callback(saver.close)
        yield


def _title(opened: Opened) -> str:
    several = f" × {len(opened.members)} settings" if len(opened.members) > 1 else ""
    return f"{opened.job.algorithm} {opened.job.task}{several}"


def _resume_records(member: Member, step: int) -> list[Divergence]:
    """Drops the records beyond the last checkpoint; the seeds that had diverged by then."""
    for file in (records.SCORES, records.METRICS):
        records.truncate_after(member.out / file, step)
    return [entry for entry in read_divergences(member.out) if entry.step <= step]


def _score(opened: Opened, period: Period, simulator: Simulator) -> list[list[Record]]:
    job = opened.job
    return score_lanes(
        opened.program, period.state, simulator, simulator.robot, opened.seeds, period.step, job.episodes
    )


def _record(member: Member, period: Period, scores: list[list[Record]], diverged: list[Divergence]) -> list[float]:
    """Appends the period's records of the seeds that are sound; their scores."""
    given_up = {entry.seed for entry in diverged}
    sound = [row for row, seed in enumerate(member.job.seeds) if seed not in given_up]
    metrics = metric_records(member.job.seeds, period.step, member.own(dict(period.metrics)))
    records.append_records(member.out / records.METRICS, [metrics[row] for row in sound])
    records_in_order = [record for row in sound for record in scores[row]]
    records.append_records(member.out / records.SCORES, records_in_order)
    return [record["score"] for record in records_in_order]


def _note_divergence(member: Member, period: Period, known: list[Divergence], saver: Saver) -> list[Divergence]:
    """The seeds that went wrong in this period; keeps a copy of the checkpoint before it."""
    given_up = {entry.seed for entry in known}
    divergences = []
    for seed, quantity, value in diverging(member.job.seeds, member.own(dict(period.metrics))):
        if seed not in given_up:
            last_good = saver.latest_step()
            checkpoint = None if last_good is None else _keep_checkpoint(member.out, last_good)
            divergences.append(Divergence(seed, period.step, quantity, f"{value:g}", checkpoint))
    if divergences:
        write_divergences(member.out, [*known, *divergences])
    return divergences


def _keep_checkpoint(out: Path, step: int) -> str:
    """Copies a checkpoint to where later ones do not replace it; its path within `out`."""
    folder = Path("diverged") / str(step)
    if not (out / folder).exists():
        shutil.copytree(out / CHECKPOINTS / str(step), out / f"{folder}.partial", dirs_exist_ok=True)
        (out / f"{folder}.partial").rename(out / folder)
    return str(folder)
