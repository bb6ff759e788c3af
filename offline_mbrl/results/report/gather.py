"""All that a folder of runs says, job by job; what cannot be read is named and left out, and ends nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from offline_mbrl.errors import UserError
from offline_mbrl.results.query import Curve, read_curves
from offline_mbrl.storage import records
from offline_mbrl.storage.records import Record, Status


class LeftOut(NamedTuple):
    """A folder or file that the report does not show, and why."""

    where: str
    why: str


@dataclass(frozen=True)
class JobFolder:
    """What the files of one job say apart from its scores."""

    folder: Path
    name: str
    """Its path below the folder of results."""
    job: Mapping[str, Any]
    environment: Mapping[str, Any]
    """Empty where the job has not begun."""
    status: Status
    failure: str
    """The one line that a failed job left; empty otherwise."""
    diverged: Sequence[Mapping[str, Any]]
    done: Mapping[str, Any]
    """What DONE says; empty where the job is not done."""


@dataclass(frozen=True)
class Gathered:
    """What could be read, and what could not."""

    jobs: list[JobFolder] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    curve_jobs: dict[int, JobFolder] = field(default_factory=dict)
    """The job of each curve, by the curve's `id`."""
    metrics: dict[str, list[Record]] = field(default_factory=dict)
    """The training metrics by the job's name."""
    left_out: list[LeftOut] = field(default_factory=list)

    def job_of(self, curve: Curve) -> JobFolder:
        """The job that made `curve`."""
        return self.curve_jobs[id(curve)]


def gather(run_dirs: Sequence[Path]) -> Gathered:
    """Reads every job below `run_dirs`.

    Raises:
        UserError: no job is there, or none that can be read has been evaluated.
    """
    found = Gathered()
    for folder in records.find_jobs(run_dirs):
        _read(folder, _short(folder, run_dirs), found)
    if not found.curves:
        where, why = found.left_out[0] if found.left_out else ("they", "have no scores")
        raise UserError(f"nothing to report: none of the jobs has scores that can be read, first {where}: {why}")
    return found


def _read(folder: Path, name: str, found: Gathered) -> None:
    try:
        job = read_job_folder(folder, name)
        curves = read_curves([folder]) if job.environment else []
    except UserError as error:
        found.left_out.append(LeftOut(name, _reason(error, folder)))
        return
    found.jobs.append(job)
    found.curves.extend(curves)
    found.curve_jobs.update((id(curve), job) for curve in curves)
    found.metrics[name] = _read_metrics(job, found)
    if not job.environment:
        found.left_out.append(LeftOut(name, job.failure or "it has no data and no scores yet"))


def _read_metrics(job: JobFolder, found: Gathered) -> list[Record]:
    """The training metrics of a job, none where its file is damaged: its scores stand without them."""
    try:
        return records.read_records(job.folder / records.METRICS)
    except UserError as error:
        found.left_out.append(LeftOut(f"training metrics of {job.name}", _reason(error, job.folder)))
        return []


def _reason(error: UserError, folder: Path) -> str:
    return str(error).replace(f"{folder}/", "").partition("; remove its folder")[0]


def read_job_folder(folder: Path, name: str) -> JobFolder:
    """The files of one job.

    Raises:
        UserError: one of them is damaged.
    """
    return JobFolder(
        folder,
        name,
        records.read_json(folder / records.JOB),
        records.read_json(folder / records.ENVIRONMENT, missing={}),
        records.job_status(folder),
        _first_line(folder / records.FAILED),
        records.read_json(folder / records.DIVERGED, missing=[]),
        _done(folder / records.DONE),
    )


def _first_line(path: Path) -> str:
    if not path.exists():
        return ""
    return next(iter(path.read_text(encoding="utf-8", errors="replace").splitlines()), "failed without a word")


def _done(path: Path) -> Mapping[str, Any]:
    """The mark of the end as a record; an empty or a foreign one is a mark all the same."""
    try:
        found = records.read_json(path, missing={})
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _short(folder: Path, roots: Iterable[Path]) -> str:
    """The folder's path below the root that holds it."""
    for root in (root.resolve() for root in roots):
        if folder == root:
            return folder.name
        if root in folder.parents:
            return str(folder.relative_to(root))
    return str(folder)
