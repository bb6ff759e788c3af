"""Which jobs of a suite are run: `--only algorithm=mopo,combo task=hopper-*`."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from offline_mbrl.algorithms.registry import canonical
from offline_mbrl.errors import UserError, unknown_name
from offline_mbrl.training.job import Job

FIELDS = ("algorithm", "task", "preset", "source")


def choose(jobs: Sequence[Job], only: Sequence[str]) -> list[Job]:
    """The jobs that every condition `FIELD=VALUE,VALUE` of `only` holds for; a value may have `*` for any letters.

    Raises:
      UserError: a condition is not understood, or no job is left.
    """
    conditions = [_parse(condition) for condition in only]
    chosen = [job for job in jobs if all(_matches(job, name, values) for name, values in conditions)]
    if not chosen:
        raise UserError(f"no job of the suite has {' '.join(only)}; --dry-run lists them")
    return chosen


def _parse(condition: str) -> tuple[str, list[str]]:
    name, equals, values = condition.partition("=")
    if not equals or not values:
        raise UserError(f"--only needs FIELD=VALUE, not '{condition}'")
    if name not in FIELDS:
        raise unknown_name("field of --only", name, FIELDS)
    return name, [_known(name, value) for value in values.split(",")]


def _known(name: str, value: str) -> str:
    return canonical(value) if name == "algorithm" and "*" not in value else value


def _matches(job: Job, name: str, values: Sequence[str]) -> bool:
    return any(fnmatchcase(str(getattr(job, name) or ""), value) for value in values)
