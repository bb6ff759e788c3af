"""Score curves of every seed below some folders, gathered from the files of the jobs."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from offline_mbrl.errors import UserError, warn
from offline_mbrl.storage.records import (
    ENVIRONMENT,
    JOB,
    SCORES,
    SUITE,
    Status,
    damaged,
    diverged_seeds,
    find_jobs,
    job_status,
    read_json,
    read_records,
)

SeedStatus = Status | Literal["diverged"]

PROTOCOL = ("steps", "evaluate_every", "episodes", "precision")
"""The settings that every job has, whatever its algorithm."""

Points = dict[int, float | None]
"""Scores by the number of gradient steps before them; None for one that was not a finite number."""


PROVENANCE = ("device", "offline-mbrl", "algorithm_version", "commit")
"""What may move a score though no setting says so: seeds that differ in one of these are not pooled unasked."""


@dataclass(frozen=True)
class Column:
    """What a score must share to stand beside another: the task, the data, and the physics of the evaluation."""

    task: str
    source: str
    physics: str
    fingerprint: str


@dataclass(frozen=True)
class DataSummary:
    """What is known of a column's data; `score_mean` and `score_std` are of its episodes' normalized scores."""

    name: str
    rows: int | None
    score_mean: float | None
    score_std: float | None
    physics: str | None = None
    """What the data were made under: "unknown" for a file that is not an official one."""


@dataclass(frozen=True)
class Curve:
    """The evaluations of one seed of one job: mean normalized score `scores` [n] after gradient steps `at` [n]."""

    algorithm: str
    column: Column
    dataset: DataSummary
    settings: Mapping[str, object]
    """Steps, protocol, precision, configuration and way of acting, flat; what tells two rows of one algorithm apart."""
    seed: int
    status: SeedStatus
    at: list[int]
    scores: list[float]
    provenance: Mapping[str, object] = field(default_factory=dict)
    """What it was made with, by the names of `PROVENANCE`; "unknown" where a record does not say."""
    row: Mapping[str, object] = field(default_factory=dict)
    """The `suite`, its `scale` and the `variant` that a sweep made it for; empty for other jobs."""


def read_curves(run_dirs: Iterable[Path]) -> list[Curve]:
    """One curve per seed and job below `run_dirs`; the seeds that two jobs repeat with the same settings count once.

    Jobs that stopped before they knew their data set (no environment.json) have no scores: a warning names them.

    Raises:
        UserError: no job is there, none has started, or a job's files are damaged.
    """
    folders = find_jobs(run_dirs)
    waiting = [folder for folder in folders if not (folder / ENVIRONMENT).exists()]
    started = [folder for folder in folders if folder not in waiting]
    if not started:
        raise UserError("none of the jobs has started; wait for the first evaluation or see their FAILED files")
    if waiting:
        warn(f"{_count(waiting, 'job')} without data and scores yet: {', '.join(folder.name for folder in waiting)}")
    curves = [curve for folder in started for curve in _read_job(folder)]
    if not any(curve.scores for curve in curves):
        raise UserError("none of the jobs has been evaluated yet; wait for the first evaluation")
    return without_repeats(curves, _identity)


def flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings with dotted names: {"a": {"b": 1}} -> {"a.b": 1}."""
    result: dict[str, object] = {}
    for name, value in config.items():
        nested = flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
        result.update(nested)
    return result


def _read_job(folder: Path) -> Iterator[Curve]:
    """The curves of one job: for each seed one, or one for every way of acting that was scored."""
    job, environment = read_json(folder / JOB), read_json(folder / ENVIRONMENT)
    status, diverged = job_status(folder), diverged_seeds(folder)
    column, dataset = _read_data(job, environment["dataset"])
    settings = {name: job[name] for name in PROTOCOL} | flat(job["config"]) | flat(job.get("files", {}), "files.")
    provenance, row = _provenance(job, environment), read_json(folder / SUITE, missing={})
    for (seed, variant), points in _read_scores(folder, job["seeds"], whole=status == "finished").items():
        acting = {"variant": variant} if variant else {}
        ended = "diverged" if seed in diverged or None in points.values() else status
        if ended == "finished":
            _refuse_gaps(folder, seed, sorted(points), job)
        scores = {step: score for step, score in sorted(points.items()) if score is not None}
        about = (job["algorithm"], column, dataset, settings | acting, seed, ended)
        yield Curve(*about, [*scores], [*scores.values()], provenance, row)


def _read_data(job: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[Column, DataSummary]:
    """The source is the data's own word, which tells an official file from another one that was named."""
    column = Column(job["task"], data.get("source", job["source"]), job["physics"], data["fingerprint"])
    known = (data.get(name) for name in ("rows", "score_mean", "score_std", "physics"))
    return column, DataSummary(data["name"], *known)


def _provenance(job: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, object]:
    facts = (
        environment.get("device"),
        environment.get("versions", {}).get("offline-mbrl"),
        job.get("algorithm_version", 1),
        environment.get("git_commit"),
    )
    return {name: value or "unknown" for name, value in zip(PROVENANCE, facts, strict=True)}


def _read_scores(folder: Path, seeds: Sequence[int], *, whole: bool) -> dict[tuple[int, str], Points]:
    """The points of each seed and way of acting, by seed; a seed that was not scored yet has none."""
    curves: dict[tuple[int, str], Points] = {}
    for number, record in enumerate(read_records(folder / SCORES, whole=whole), 1):
        match record:
            case {"seed": int(seed), "step": int(step), "score": int() | float() | None as score} if seed in seeds:
                curves.setdefault((seed, record.get("variant") or ""), {})[step] = score
            case _:
                raise damaged(f"line {number} of {folder / SCORES}", "no score of a seed of this job")
    scored = {seed for seed, _ in curves}
    curves |= {(seed, ""): {} for seed in seeds if seed not in scored}
    return dict(sorted(curves.items()))


def _refuse_gaps(folder: Path, seed: int, steps: Sequence[int], job: Mapping[str, Any]) -> None:
    """A seed that was trained to the end was scored in every period up to it."""
    if steps != [*range(job["evaluate_every"], job["steps"] + 1, job["evaluate_every"])]:
        raise damaged(folder / SCORES, f"the job is done, yet evaluations of seed {seed} are missing")


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) > 1)}"


def without_repeats(curves: Iterable[Curve], what: Callable[[Curve], object]) -> list[Curve]:
    """One curve for each seed of what is the same: the finished one, else the longest."""
    best: dict[object, Curve] = {}
    for curve in curves:
        key = (what(curve), curve.seed)
        best[key] = max(best.get(key, curve), curve, key=lambda one: (one.status == "finished", len(one.scores)))
    return list(best.values())


def _identity(curve: Curve) -> object:
    """Algorithm, column, settings and provenance."""
    return (curve.algorithm, curve.column, json.dumps([curve.settings, curve.provenance], sort_keys=True))
