"""Which jobs can train in one program: those that differ in seeds and numbers, and for most systems in the task."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp

from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.config import number_fields
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Job
from offline_mbrl.training.loop import Numbers

NUMBER = "a number of the lane's own"


def group(jobs: Iterable[Job]) -> list[list[Job]]:
    """The jobs in groups that can share a program, in order of first appearance."""
    return _grouped(jobs, shared)


def by_data(jobs: Iterable[Job]) -> list[list[Job]]:
    """The jobs in groups that have one data set, in order of first appearance."""
    return _grouped(jobs, data_of)


def shared(job: Job) -> str:
    """What a job's program is made for: all of the job but its seeds and the values of its numeric settings.

    Of the data only the robot counts where the system lets lanes have different ones.
    """
    definition = get_definition(job.algorithm)
    free = number_fields(definition.config)
    config = {name: NUMBER if name in free and value is not None else value for name, value in job.config.items()}
    fields = job.model_dump(mode="json", exclude={"seeds", "preset"}) | {"config": config}
    if definition.across_tasks:
        files = {name: digest for name, digest in job.files.items() if name != "source"}
        fields |= {"task": get_task(job.task).robot.name, "source": None, "size": None, "files": files}
    return json.dumps(fields, sort_keys=True)


def data_of(job: Job) -> str:
    """What names a job's data set."""
    return json.dumps([job.task, job.source, job.size, job.physics, job.files.get("source")])


def numbers(jobs: Sequence[Job]) -> Numbers:
    """The numeric settings in which `jobs` of one group differ, [lanes] each: job after job, seed after seed."""
    free = number_fields(get_definition(jobs[0].algorithm).config)
    values = {name: [job.config[name] for job in jobs for _ in job.seeds] for name in sorted(free)}
    return {name: jnp.asarray(column, jnp.float32) for name, column in values.items() if _differ(column)}


def _differ(column: list[Any]) -> bool:
    return len(set(column)) > 1


def _grouped(jobs: Iterable[Job], key: Callable[[Job], str]) -> list[list[Job]]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return list(groups.values())
