"""Jobs from their data to their last score: fits, the loop, evaluations, records, checkpoints, the mark of the end.

Several jobs that differ in seeds and numbers alone train in one program, as its lanes; each keeps its own folder.

A kill costs what was done since the last checkpoint, and no more: a run that starts again drops the records beyond it.
Each draw depends on the seed and the step alone, so on the same device it ends as if it had never stopped.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from rich.console import Console

from offline_mbrl.algorithms.algorithm import State
from offline_mbrl.errors import warn
from offline_mbrl.machine import visible_devices
from offline_mbrl.nn.precision import computing
from offline_mbrl.progress import progress, stderr
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.stopping import SAVE_EVERY, at_safe_points, stop_here, stop_requested
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training.beside import judging, worthwhile
from offline_mbrl.training.divergence import (
    Divergence,
    all_diverged,
    diverging,
    read_divergences,
    write_divergences,
)
from offline_mbrl.training.job import Job, Paths, claim
from offline_mbrl.training.loop import Period, periods
from offline_mbrl.training.opening import Member, Opened, last_saved, open_jobs
from offline_mbrl.training.provenance import costs_noted, note_costs
from offline_mbrl.training.saving import (
    CHECKPOINTS,
    Saver,
    drop_checkpoints,
    save_final,
)
from offline_mbrl.training.scoring import Record, metric_records, score_lanes
from offline_mbrl.training.timing import Stopwatch


def run_job(
    job: Job,
    out: Path,
    paths: Paths,
    console: Console | None = None,
    save_every: float = SAVE_EVERY,
    beside: bool | None = None,
) -> list[Divergence]:
    """Runs `job` in the folder `out`, or goes on with it, or returns at once where it is done.

    Returns:
      The seeds that diverged; the others' results are kept.

    Raises:
      UserError: the folder cannot be written or belongs to another run, the data or a name is wrong, a checkpoint is
        damaged, or every seed diverged.
    """
    (diverged,) = run_jobs([(job, out)], paths, console, save_every, beside)
    if len(diverged) == len(job.seeds):
        raise all_diverged(diverged)
    return diverged


def run_jobs(
    jobs: Sequence[tuple[Job, Path]],
    paths: Paths,
    console: Console | None = None,
    save_every: float = SAVE_EVERY,
    beside: bool | None = None,
    parts: int = 1,
) -> list[list[Divergence]]:
    """Runs jobs of one group (`lanes.group`), each in its folder, as the lanes of one program.

    Jobs that are done are left alone; jobs at different steps run one after the other. Checkpoints are `save_every`
    seconds apart. Policies are judged `beside` training where that is worthwhile (None), or as is said. With several
    `parts` only a part of the lanes is on the device at a time.

    Returns:
      For each job the seeds that diverged. A job all of whose seeds did is not marked as done.

    Raises:
      UserError: as `run_job`, but for divergence.
    """
    console = console or stderr()
    for job, out in jobs:
        claim(out, job)
    waiting = [(job, out) for job, out in jobs if records.job_status(out) != "finished"]
    diverged: dict[Path, list[Divergence]] = {}
    with computing(jobs[0][0].precision):
        at_step = sorted(((last_saved(out), (job, out)) for job, out in waiting), key=itemgetter(0))
        for step, started in groupby(at_step, key=itemgetter(0)):
            watch, judge_beside = Stopwatch(), worthwhile() if beside is None else beside
            together, devices = [each for _, each in started], visible_devices()
            opened = open_jobs(together, step, paths, console, watch, devices, parts)
            diverged |= _train(opened, console, save_every, judge_beside, watch)
    for _, out in jobs:
        if records.job_status(out) == "finished":
            drop_checkpoints(out)
    return [diverged.get(out, []) for _, out in jobs]


def _train(
    opened: Opened, console: Console, save_every: float, beside: bool, watch: Stopwatch
) -> dict[Path, list[Divergence]]:
    """The periods of training and evaluation, from the last checkpoints on; what diverged, by folder."""
    job, members = opened.job, opened.members
    diverged = {member.out: _resume_records(member, opened.step) for member in members}
    savers = {member.out: Saver(member.out, save_every) for member in members}
    simulator = Simulator(get_task(job.task).robot, len(opened.seeds) * job.episodes, job.physics)
    keys = opened.keys("train")
    note = partial(note_costs, [(member.out, len(member.job.seeds)) for member in members], watch)
    waiting: list[Callable[[], None]] = []  # of the last period at most: its scores are awaited and recorded
    with (
        at_safe_points(),
        progress(_title(opened), job.steps, opened.step, console) as tick,
        costs_noted(note),
        _closing(savers.values()),
        judging(partial(_score, opened, simulator), opened.program, beside, job.precision) as begin,
    ):
        stop_here()
        with tick.phase("compiling"), watch.part("train"):
            opened.program.prepare(opened.state, opened.data, keys)
        steps = periods(opened.program, opened.state, opened.data, keys, opened.step, job.steps)
        for period in watch.timed(steps, "train"):
            with watch.part("evaluate"):  # what is left of it: beside training it costs the waiting alone
                _call_all(waiting)
            for member in members:
                diverged[member.out] += _note_divergence(member, period, diverged[member.out], savers[member.out])
            if all(len(diverged[member.out]) == len(member.job.seeds) for member in members):
                break
            with watch.part("evaluate"):
                scores = begin(period.state, period.step)
            waiting.append(partial(_record_all, members, period, scores, diverged, tick))
            # Records come before the state that goes on from them.
            last = period.step == job.steps
            if last or not beside or _is_due(savers.values()):
                with watch.part("evaluate"):
                    _call_all(waiting)
                with watch.part("checkpoint"):
                    _conclude(opened, period, diverged) if last else _save_if_due(members, period, savers, note)
    return diverged


def _call_all(waiting: list[Callable[[], None]]) -> None:
    while waiting:
        waiting.pop(0)()


def _is_due(savers: Iterable[Saver]) -> bool:
    return stop_requested() is not None or any(saver.due for saver in savers)


def _save_if_due(
    members: Sequence[Member], period: Period, savers: Mapping[Path, Saver], note: Callable[[], None]
) -> None:
    """A checkpoint by the clock, or because a stop was asked for, which is then heeded."""
    stopping = stop_requested() is not None
    due = [member for member in members if stopping or savers[member.out].due]
    for member in due:
        savers[member.out].save(period.step, _own_state(members, member, period.state))
    if due:
        note()
    stop_here()


def _conclude(opened: Opened, period: Period, diverged: Mapping[Path, list[Divergence]]) -> None:
    """Keeps of every job with a sound seed what acting needs, and marks it as done."""
    state = opened.program.conclude(period.state)
    for member in opened.members:
        if len(diverged[member.out]) < len(member.job.seeds):
            save_final(member.out, period.step, _own_state(opened.members, member, state))
            records.write_json(member.out / records.DONE, {"steps": period.step})
            _caution(member, period)


def _caution(member: Member, period: Period) -> None:
    """Says what the algorithm's own look at the last period gives reason to doubt."""
    caution = member.system().definition.caution
    if caution is None:
        return
    doubt = caution({name: float(values.mean()) for name, values in member.own(dict(period.metrics)).items()})
    if doubt:
        warn(f"{member.out.name}: {doubt}")


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
    jobs, tasks = len(opened.members), {member.job.task for member in opened.members}
    what = opened.job.task + (f" × {jobs} settings" if jobs > 1 else "")
    if len(tasks) > 1:
        what = f"{get_task(opened.job.task).robot.name}, {jobs} jobs on {len(tasks)} tasks"
    used, visible = len(opened.layout.devices), len(visible_devices())
    return f"{opened.job.algorithm} {what}" + (f", {used} of {visible} devices" if visible > 1 else "")


def _resume_records(member: Member, step: int) -> list[Divergence]:
    """Drops the records beyond the last checkpoint; the seeds that had diverged by then."""
    for file in (records.SCORES, records.METRICS):
        records.truncate_after(member.out / file, step)
    return [entry for entry in read_divergences(member.out) if entry.step <= step]


def _score(opened: Opened, simulator: Simulator, deployed: State, step: int) -> list[list[Record]]:
    job = opened.job
    return score_lanes(opened.program, deployed, simulator, simulator.robot, opened.seeds, step, job.episodes)


def _record_all(
    members: Sequence[Member],
    period: Period,
    scores: Callable[[], list[list[Record]]],
    diverged: Mapping[Path, list[Divergence]],
    tick: Callable[[int, str], None],
) -> None:
    """Waits for a period's scores and records it."""
    lanes = scores()
    noted = [_record(member, period, lanes[member.lanes], diverged[member.out]) for member in members]
    tick(period.step, f"score {np.mean([score for row in noted for score in row]):.1f}")


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
