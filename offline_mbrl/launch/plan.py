"""The tasks of a sweep: jobs that share a program together, and what several of them need fitted once before."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from offline_mbrl.launch import cost
from offline_mbrl.launch.schedule import longest_first, makespan
from offline_mbrl.launch.task import Options, Task
from offline_mbrl.machine import total_memory
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Job
from offline_mbrl.training.lanes import by_data, group
from offline_mbrl.training.parts import cut
from offline_mbrl.training.saving import CHECKPOINTS
from offline_mbrl.training.system import configured


class Fit(NamedTuple):
    """One thing that a job has fitted before its first step.

    Jobs with the same `key` share it: it says all that `pretraining.store.fit_id` does before data and device are
    known, which are the same for all jobs of a sweep that name the same data.
    """

    name: str
    key: str


Fits = Mapping[str, tuple[Fit, ...]]
"""By job's name."""


def make_plan(jobs: Sequence[Job], out: Path, options: Options, slots: int) -> list[Task]:
    """The tasks that run `jobs`, in the order in which they are started; `slots` of them run at a time."""
    fits = {job.name: tuple(fits_of(job)) for job in jobs}
    groups = _programs(jobs, fits, options, slots) if options.lanes else [[job] for job in jobs]
    rates = cost.measured_rates([out / job.name for job in jobs])
    shared = _shared_fits([members for members in groups if _is_to_fit(members, out)], fits)
    return longest_first([*shared.values(), *(_train_task(members, fits, shared, rates) for members in groups)])


def _programs(jobs: Sequence[Job], fits: Fits, options: Options, slots: int) -> list[list[Job]]:
    """The jobs of each program: as few programs as leave no slot idle, by the estimate of when the last one ends.

    On cores, which more lanes only crowd, a program has one data set. What is measured or done does not enter, so that
    a sweep that goes on has the programs that it began with.
    """

    def end(programs: Sequence[Sequence[Job]]) -> float:
        costs = [cost.planned_cost(members) for members in programs]
        tasks = [Task(each[0].name, tuple(each), cost=taken) for each, taken in zip(programs, costs, strict=True)]
        return makespan(tasks, slots)

    groups = [by_data(members) for members in group(jobs)]
    if not options.accelerated:
        return [list(same) for sources in groups for same in sources]
    fewest = [_fewest_parts(sources, fits, total_memory() // slots) for sources in groups]
    return min(_divisions(groups, fewest), key=end)  # the first of equals


def _fewest_parts(sources: Sequence[Sequence[Job]], fits: Fits, memory: int) -> int:
    """Into how many programs jobs are divided by their data sets to be the least work, and not to need more memory."""

    def work(parts: int) -> float:
        return sum(cost.planned_cost(list(chain(*part))) for part in cut(sources, parts))

    jobs = list(chain(*sources))
    needed = math.ceil(cost.memory(jobs, _has_fits(jobs, fits)) / memory)
    return max(min(range(1, len(sources) + 1), key=work), needed)


def _divisions(groups: Sequence[Sequence[Sequence[Job]]], fewest: Sequence[int]) -> Iterator[list[list[Job]]]:
    """Ways to divide programs of several data sets: into the fewest parts, then the longest in two, in three, ...

    Those that are not as long are divided into fewer, by the same share of time.
    """
    costs = [cost.planned_cost(list(chain(*sources))) if len(sources) > 1 else 0.0 for sources in groups]
    longest = max(costs, default=0.0) or 1.0
    for count in range(1, max(map(len, groups), default=0) + 1):
        parts = [max(least, math.ceil(count * taken / longest)) for least, taken in zip(fewest, costs, strict=True)]
        divided = chain(*(cut(sources, number) for sources, number in zip(groups, parts, strict=True)))
        yield [list(chain(*part)) for part in divided]


def _has_fits(jobs: Iterable[Job], fits: Fits) -> bool:
    return any(fits[job.name] for job in jobs)


def fits_of(job: Job) -> Iterable[Fit]:
    """What the seeds of `job` need fitted."""
    system = configured(job.algorithm, get_task(job.task), job.config, job.steps)
    for name, pretraining in system.pretraining.items():
        config = pretraining.config.model_dump(mode="json")
        data = [job.task, job.source, job.size, job.physics, job.files.get("source"), job.precision]
        yield Fit(name, json.dumps([name, pretraining.version, config, data], sort_keys=True))


def _is_to_fit(members: Iterable[Job], out: Path) -> bool:
    """Whether one of the jobs has yet to take its first step."""
    folders = [out / job.name for job in members]
    return any(
        records.job_status(folder) != "finished" and not any((folder / CHECKPOINTS).glob("[0-9]*"))
        for folder in folders
    )


Shared = dict[tuple[str, tuple[int, ...]], Task]
"""The tasks of fits by key and seeds."""


def _shared_fits(groups: Sequence[Sequence[Job]], fits: Fits) -> Shared:
    """A task for each fit and block of seeds that several groups need; those of one fit wait for each other.

    They would anyhow: a fit's folder has one lock. What one group alone needs it makes itself.
    """
    needed: dict[str, int] = {}
    for members in groups:
        for key in {fit.key for job in members for fit in fits[job.name]}:
            needed[key] = needed.get(key, 0) + 1
    tasks: Shared = {}
    last: dict[str, str] = {}
    for job in (job for members in groups for job in members):
        for fit in fits[job.name]:
            if needed[fit.key] > 1 and (fit.key, job.seeds) not in tasks:
                task = _fit_task(job, fit, frozenset({last[fit.key]}) if fit.key in last else frozenset())
                tasks[fit.key, job.seeds], last[fit.key] = task, task.name
    return tasks


def _fit_task(job: Job, fit: Fit, needs: frozenset[str]) -> Task:
    name = f"fit {fit.name} for {job.name}"
    return Task(name, (job,), fit.name, needs, cost.fit_cost(job), cost.memory([job], fits=True))


def _train_task(members: Sequence[Job], fits: Fits, shared: Shared, rates: cost.Rates) -> Task:
    needs = {shared[key].name for job in members for fit in fits[job.name] if (key := (fit.key, job.seeds)) in shared}
    own = sum(cost.fit_cost(job) for job in members if fits[job.name] and not needs and job.algorithm not in rates)
    several = f" and {len(members) - 1} more" if len(members) > 1 else ""
    return Task(
        f"{members[0].name}{several}",
        tuple(members),
        None,
        frozenset(needs),
        own + cost.train_cost(members, rates),
        cost.memory(members, fits=_has_fits(members, fits)),
    )
