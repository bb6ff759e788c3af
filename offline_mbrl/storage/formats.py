"""What every `job.json`, `environment.json` and `diverged.json` has: a file that lacks it is named, not read."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from offline_mbrl.storage.seal import SealError


class _Part(BaseModel):
    """Named values of exact types; a file may have more of them."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


FORMAT = 1
"""Of the files in a run's folder: raised when a reader of the last format would misread what is written now."""


class JobFile(_Part):
    """What identifies a run and what its scores are told apart by."""

    id: str
    format: int = Field(1, ge=1, description="of the folder's files; 1 where it is not said")
    algorithm: str
    task: str
    source: str
    physics: str
    seeds: list[int]
    steps: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    episodes: int
    precision: str
    config: dict[str, Any]


class DataFile(_Part):
    """The data set of a run; scores are over its complete episodes."""

    name: str
    fingerprint: str
    rows: int | None = None
    score_mean: float | None = None
    score_std: float | None = None


class EnvironmentFile(_Part):
    """What a run was made with, and what it took."""

    dataset: DataFile
    command: str | None = Field(None, description="the command line that began the run")
    host: str | None = Field(None, description="the machine that began it")
    start: str | None = Field(None, description="when it began, UTC, ISO 8601")
    end: str | None = Field(None, description="when it was last at work, UTC, ISO 8601")
    versions: dict[str, str] = Field(default_factory=dict, description="of Python and of what can move a number")
    device: str | None = Field(None, description="kind of the device that trains")
    platform: str | None = Field(None, description="cpu, gpu or tpu")
    cores: int | None = Field(None, description="of the machine")
    gpu: list[dict[str, str]] = Field(default_factory=list, description="name, driver and memory, as the driver says")
    precision: str | None = Field(None, description="of float32 matrix products, or mixed")
    xla_flags: str | None = Field(None, description="$XLA_FLAGS")
    git_commit: str | None = Field(None, description="of the source tree, with + where it had changes")
    seconds: dict[str, float] = Field(
        default_factory=dict,
        description="wall time by part: data, fit, compile, train, evaluate, checkpoint; the share of the job's lanes",
    )
    peak_memory_bytes: int | None = Field(None, description="on the device where it counts them, else of the process")
    lanes: dict[str, int] = Field(default_factory=dict, description="of the program: the job's own, and all")


class DivergedSeed(_Part):
    """A seed that was given up."""

    seed: int
    step: int
    quantity: str


class ScoreLine(_Part):
    """A line of `scores.jsonl`: one evaluation of one seed."""

    seed: int
    step: int = Field(ge=1, description="gradient steps before the evaluation")
    variant: str = Field("", description="the way of acting, where an algorithm has several")
    returns: list[float] = Field(description="undiscounted, one for each episode")
    score: float | None = Field(description="their mean, normalized; null where it was not finite")


class MetricLine(BaseModel):
    """A line of `metrics.jsonl`: means over the gradient steps of the period that ended at `step`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, float | None]

    seed: int
    step: int = Field(ge=1)


FORMATS: dict[str, TypeAdapter[Any]] = {
    "job.json": TypeAdapter(JobFile),
    "environment.json": TypeAdapter(EnvironmentFile),
    "diverged.json": TypeAdapter(list[DivergedSeed]),
}


class LaterFormatError(ValueError):
    """A file of a format that a later version writes; says which."""


def check(name: str, value: Any) -> None:
    """Compares `value` with what the file called `name` holds; other names are not checked.

    Raises:
        LaterFormatError: it is of a format that this version does not know.
        SealError: it is not what such a file holds.
    """
    if name not in FORMATS:
        return
    if isinstance(value, dict) and isinstance(later := value.get("format"), int) and later > FORMAT:
        raise LaterFormatError(f"is of format {later}, and this version of offline-mbrl reads up to {FORMAT}")
    try:
        FORMATS[name].validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SealError(f"{where}: {first['msg'].lower()}" if where else first["msg"].lower()) from None
