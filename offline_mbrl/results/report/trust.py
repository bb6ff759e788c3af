"""What stands beside the scores about trusting them: model error, offline choices, coverage of the data."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from offline_mbrl.behavior import coverage
from offline_mbrl.behavior.coverage_table import coverage_table
from offline_mbrl.errors import UserError
from offline_mbrl.model_error import study as model_error
from offline_mbrl.model_error.table import Lines, horizon_table, penalty_table
from offline_mbrl.results.layout import Table, as_html
from offline_mbrl.results.report.gather import Gathered, JobFolder, LeftOut
from offline_mbrl.selection import study as selection
from offline_mbrl.selection.scores import candidates, scores
from offline_mbrl.selection.table import candidate_table, score_table
from offline_mbrl.storage import records

ERROR = (
    "{job}: median error of open-loop predictions after h steps from held-out states, in deviations of the data; mean: "
    "of the elites' mean, samples: with noise"
)
PENALTIES = "{job}: rank correlation of each penalty with the true one-step error"
CHOICE = (
    "{task}: how each estimator orders the policies against the simulator; regret in percent of the difference between "
    "the best and the worst"
)
POLICIES = "{task}: the policies, their estimates, and their discounted value in the simulator"
COVERAGE = "{job}: distance of state-action pairs to the nearest of the data; outside: beyond 95 % of its own"


def trust(gathered: Gathered) -> list[str]:
    """The tables, as elements, of the jobs that have such records; damaged ones are noted as left out."""
    tables = [*_model_error(gathered), *_selection(gathered), *_coverage(gathered)]
    return [as_html(Table(*lines, caption)) for lines, caption in tables]


def _model_error(gathered: Gathered) -> Iterator[tuple[Lines, str]]:
    for job in gathered.jobs:
        if studies := _read(gathered, job, model_error.FOLDER, model_error.read_study):
            yield horizon_table(studies), ERROR.format(job=job.name)
            yield penalty_table(studies), PENALTIES.format(job=job.name)


def _selection(gathered: Gathered) -> Iterator[tuple[Lines, str]]:
    """Jobs whose estimates were made alike on the same data are one choice."""
    choices: dict[str, list[records.Record]] = {}
    for job in gathered.jobs:
        if found := _read(gathered, job, selection.FILE, records.read_json):
            choices.setdefault(selection.alike(found["about"]), []).append(found)
    for studies in choices.values():
        policies, task = candidates(studies), studies[0]["about"]["task"]
        yield score_table(scores(policies)), CHOICE.format(task=task)
        yield candidate_table(policies), POLICIES.format(task=task)


def _coverage(gathered: Gathered) -> Iterator[tuple[Lines, str]]:
    for job in gathered.jobs:
        if found := _read(gathered, job, coverage.FILE, records.read_json):
            yield coverage_table(found), COVERAGE.format(job=job.name)


def _read(gathered: Gathered, job: JobFolder, name: str, read: Callable[[Path], Any]) -> Any:
    """What is at `name` in the job's folder; None where nothing is, or it cannot be read."""
    try:
        return read(job.folder / name) if (job.folder / name).exists() else None
    except UserError as error:
        gathered.left_out.append(LeftOut(f"{name} of {job.name}", str(error).partition("; remove its folder")[0]))
        return None
