"""Scores as rows of data: one per evaluation, with all that tells it from others."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from offline_mbrl.errors import UserError
from offline_mbrl.results.query import PROTOCOL, PROVENANCE, Column, Curve, DataSummary

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""What may name a folder."""


class Evaluation(BaseModel):
    """One evaluation of one seed; a seed without any has one row whose `step` and `score` are absent."""

    model_config = ConfigDict(extra="ignore", frozen=True, title="offline-mbrl scores, one row per evaluation")

    algorithm: str = Field(pattern=f"^{NAME}$", description="registered name of the algorithm")
    algorithm_version: int = Field(description="raised when a change of the package moves the algorithm's numbers")
    task: str = Field(pattern=f"^{NAME}$", description="name of the task")
    source: str = Field(description="where the data come from; d4rl-unofficial for a file of unknown origin")
    physics: str = Field(description="physics of the evaluation")
    dataset: str = Field(description="name of the data set")
    fingerprint: str = Field(description="hash of the data's content")
    rows: int | None = Field(description="transitions of the data set")
    data_physics: str | None = Field(description="physics that the data were made under")
    data_score: float | None = Field(description="mean normalized score of the data's episodes")
    data_score_std: float | None = Field(description="standard deviation of the same")
    settings: str = Field(description="JSON object of the hyper-parameters, nested names joined by dots")
    steps: int = Field(ge=1, description="gradient steps of the whole run")
    evaluate_every: int = Field(ge=1, description="gradient steps between evaluations")
    episodes: int = Field(ge=1, description="episodes of one evaluation, deterministic policy")
    precision: str = Field(description="of float32 matrix products, or mixed")
    device: str = Field(description="kind of the device that trained; unknown where not recorded")
    package_version: str = Field(description="version of offline-mbrl; unknown where not recorded")
    commit: str = Field(description="commit of the source tree, with + where it had changes; unknown outside one")
    seed: int = Field(ge=0, description="seed of the run")
    status: Literal["finished", "failed", "unfinished", "diverged"] = Field(description="how the seed ended")
    step: int | None = Field(ge=1, description="gradient steps before the evaluation")
    score: float | None = Field(allow_inf_nan=False, description="mean normalized score of its episodes")


FIELDS = tuple(Evaluation.model_fields)


def schema() -> str:
    """The JSON schema of a row."""
    return json.dumps(Evaluation.model_json_schema(), indent=2)


def to_rows(curve: Curve) -> Iterator[dict[str, object]]:
    """The rows of one seed, in the order of its evaluations."""
    device, package, algorithm_version, commit = (curve.provenance.get(name, "unknown") for name in PROVENANCE)
    own = {name: value for name, value in curve.settings.items() if name not in PROTOCOL}
    about = {
        "algorithm": curve.algorithm,
        "algorithm_version": algorithm_version,
        "task": curve.column.task,
        "source": curve.column.source,
        "physics": curve.column.physics,
        "dataset": curve.dataset.name,
        "fingerprint": curve.column.fingerprint,
        "rows": curve.dataset.rows,
        "data_physics": curve.dataset.physics,
        "data_score": curve.dataset.score_mean,
        "data_score_std": curve.dataset.score_std,
        "settings": json.dumps(own),
        **{name: curve.settings[name] for name in PROTOCOL},
        "device": device,
        "package_version": package,
        "commit": commit,
        "seed": curve.seed,
        "status": curve.status,
    }
    for step, score in zip(curve.at, curve.scores, strict=True):
        yield {**about, "step": step, "score": score}
    if not curve.scores:
        yield {**about, "step": None, "score": None}


def from_rows(rows: Sequence[Evaluation], path: Path) -> Curve:
    """The seed that `rows` are the evaluations of.

    Raises:
        UserError: they contradict each other.
    """
    first, name = rows[0], f"seed {rows[0].seed} of {rows[0].algorithm} on {rows[0].task} in {path}"
    points = {row.step: row.score for row in sorted(rows, key=lambda row: row.step or 0) if row.step is not None}
    if len(points) + (len(rows) - len(points)) * (not points) != len(rows) or None in points.values():
        raise UserError(f"{name} has a step twice, or a step without a score; export it again")
    if first.status == "finished" and [*points] != [
        *range(first.evaluate_every, first.steps + 1, first.evaluate_every)
    ]:
        raise UserError(f"{name} is finished, yet evaluations are missing; export it again")
    column = Column(first.task, first.source, first.physics, first.fingerprint)
    data = DataSummary(first.dataset, first.rows, first.data_score, first.data_score_std, first.data_physics)
    settings = {name: getattr(first, name) for name in PROTOCOL} | _settings(first.settings, path)
    made_with = (first.device, first.package_version, first.algorithm_version, first.commit)
    scores = [score for score in points.values() if score is not None]
    about = (first.algorithm, column, data, settings, first.seed, first.status)
    return Curve(*about, [*points], scores, dict(zip(PROVENANCE, made_with, strict=True)))


def _settings(text: str, path: Path) -> dict[str, object]:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} has settings that are not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} has settings that are no JSON object: {text[:60]}")
    return settings
