"""What every `job.json`, `environment.json` and `diverged.json` has: a file that lacks it is named, not read."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from offline_mbrl.storage.seal import SealError


class _Part(BaseModel):
    """Named values of exact types; a file may have more of them."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class JobFile(_Part):
    """What identifies a run and what its scores are told apart by."""

    id: str
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
    """What a run was made with."""

    dataset: DataFile


class DivergedSeed(_Part):
    """A seed that was given up."""

    seed: int
    step: int
    quantity: str


FORMATS: dict[str, TypeAdapter[Any]] = {
    "job.json": TypeAdapter(JobFile),
    "environment.json": TypeAdapter(EnvironmentFile),
    "diverged.json": TypeAdapter(list[DivergedSeed]),
}


def check(name: str, value: Any) -> None:
    """Raises `SealError` where `value` is not what the file called `name` holds; other names are not checked."""
    try:
        if name in FORMATS:
            FORMATS[name].validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SealError(f"{where}: {first['msg'].lower()}" if where else first["msg"].lower()) from None
