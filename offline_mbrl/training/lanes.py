"""Which jobs can train in one program: those that differ in seeds and in numbers alone."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp

from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.config import number_fields
from offline_mbrl.training.job import Job
from offline_mbrl.training.loop import Numbers

NUMBER = "a number of the lane's own"


def group(jobs: Iterable[Job]) -> list[list[Job]]:
    """The jobs in groups that can share a program, in order of first appearance."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(shared(job), []).append(job)
    return list(groups.values())


def shared(job: Job) -> str:
    """What a job's program is made for: all of the job but its seeds and the values of its numeric settings."""
    free = number_fields(get_definition(job.algorithm).config)
    config = {name: NUMBER if name in free and value is not None else value for name, value in job.config.items()}
    return json.dumps(job.model_dump(mode="json", exclude={"seeds", "preset"}) | {"config": config}, sort_keys=True)


def numbers(jobs: Sequence[Job]) -> Numbers:
    """The numeric settings in which `jobs` of one group differ, [lanes] each: job after job, seed after seed."""
    free = number_fields(get_definition(jobs[0].algorithm).config)
    values = {name: [job.config[name] for job in jobs for _ in job.seeds] for name in sorted(free)}
    return {name: jnp.asarray(column, jnp.float32) for name, column in values.items() if _differ(column)}


def _differ(column: list[Any]) -> bool:
    return len(set(column)) > 1
