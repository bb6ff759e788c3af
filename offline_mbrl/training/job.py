"""What one run is: a value whose hash is its identity, so that a finished run is known and a half-done one resumed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, model_validator

from offline_mbrl.config import Config, describe_first
from offline_mbrl.data.d4rl.files import sha256
from offline_mbrl.errors import UserError
from offline_mbrl.precision import Precision
from offline_mbrl.storage import records
from offline_mbrl.storage.formats import FORMAT
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics, get_task
from offline_mbrl.training.system import make_system

OF_THE_FILE = ("id", "format")
"""What `job.json` has beside the job's own fields."""


class Paths(NamedTuple):
    """Where things are kept on this machine; no part of a job's identity. None stands for the usual paths."""

    data: Path | None = None
    cache: Path | None = None


class Job(Config):
    """An algorithm on a task with a block of seeds. Everything that can move a number is here and enters the id."""

    algorithm: str
    task: str
    source: str = Field("builtin", description="where the data come from")
    size: int | None = Field(None, ge=1, description="rows of generated data; the full size when absent")
    physics: Physics = Field(DEFAULT_PHYSICS, description="physics of the evaluation, and of generated data")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="trained side by side in one program")
    steps: int = Field(ge=1, description="gradient steps")
    evaluate_every: int = Field(5000, ge=1, description="gradient steps between evaluations")
    episodes: int = Field(10, ge=1, description="episodes of one evaluation, deterministic policy")
    precision: Precision = "default"
    preset: str | None = Field(None, description="named alternative of the algorithm's presets")
    config: dict[str, Any] = Field(description="the resolved hyper-parameters")
    algorithm_version: int = Field(1, description="raised in the package when a change moves the algorithm's numbers")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 of every file that a setting names")

    @model_validator(mode="after")
    def _periods_fit(self) -> "Job":
        if self.steps % self.evaluate_every:
            between = f"{self.steps} steps are not a multiple of the {self.evaluate_every} between evaluations"
            raise UserError(f"{between}; change --steps or --evaluate-every")
        return self

    @property
    def id(self) -> str:
        """A hash of every field: equal ids are equal runs."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A readable folder name that ends in the id."""
        return f"{self.algorithm}-{self.task}-{self.id}"


def make_job(
    algorithm: str,
    task: str,
    *,
    preset: str | None = None,
    steps: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Job:
    """The job of `algorithm` on `task` with its presets resolved, so that later preset files cannot change it.

    Args:
      algorithm: a registered name.
      task: one of the twelve.
      preset: named alternative of the algorithm's presets.
      steps: gradient steps; the published number when absent.
      overrides: hyper-parameters laid over the presets.
      settings: the other fields of `Job`.

    Raises:
      UserError: an unknown name (the nearest is suggested) or a value of the wrong type or out of range.
    """
    system = make_system(algorithm, get_task(task), steps, preset, overrides)
    fields = {
        "algorithm": system.name,
        "task": system.task.name,
        "preset": preset,
        "steps": system.steps,
        "config": system.config.model_dump(mode="json"),
        "algorithm_version": system.definition.version,
        "files": file_digests(system.config, str(settings.get("source", ""))),
    }
    try:
        return Job.model_validate(fields | settings)
    except ValidationError as error:
        raise UserError(describe_first(error, "run")) from None


def file_digests(config: Config, source: str) -> dict[str, str]:
    """SHA-256 of the files that settings name, by setting: other content under the same name is another run.

    Raises:
      UserError: one of them cannot be read.
    """
    named = {name: value for name, value in config if isinstance(value, Path)}
    kind, _, file = source.partition(":")
    if kind in ("d4rl", "policy") and file:
        named["source"] = Path(file).expanduser()
    digests = {}
    for name, path in named.items():
        try:
            digests[name] = sha256(path)
        except OSError as error:
            raise UserError(
                f"cannot read {path}, which {name} names: {(error.strerror or str(error)).lower()}"
            ) from error
    return digests


def read_job(folder: Path) -> Job:
    """The job of a folder that `train` or `sweep` wrote.

    Raises:
      UserError: it holds none, or a damaged one.
    """
    fields = records.read_json(folder / records.JOB)
    if fields is None:
        raise UserError(f"{folder} holds no run; name a folder that `train` or `sweep` wrote")
    try:
        return Job.model_validate({name: value for name, value in fields.items() if name not in OF_THE_FILE})
    except (ValidationError, AttributeError) as error:
        reason = describe_first(error, "run") if isinstance(error, ValidationError) else "it is no record"
        raise UserError(f"{folder / records.JOB} is damaged ({reason}); remove the folder and run it again") from None


def claim(out: Path, job: Job) -> None:
    """Makes `out` the folder of `job`; `UserError` when it cannot be written or is another run's."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        owner = records.read_json(out / records.JOB)
        if owner is None:
            records.write_json(out / records.JOB, {"id": job.id, "format": FORMAT} | job.model_dump(mode="json"))
        elif owner["id"] != job.id:
            raise UserError(
                f"{out} belongs to another run ({owner['algorithm']} on {owner['task']}, id {owner['id']}, this one is "
                f"{job.id}); choose another --out"
            )
        (out / records.FAILED).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {(error.strerror or str(error)).lower()}; choose another --out"
        ) from error
