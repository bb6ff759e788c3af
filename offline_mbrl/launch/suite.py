"""A grid of jobs read from a TOML file: algorithms x settings x tasks x blocks of seeds."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from offline_mbrl.algorithms.presets import applicable, flattened
from offline_mbrl.algorithms.registry import canonical, definitions, get_definition
from offline_mbrl.config import Config, describe_first
from offline_mbrl.errors import UserError
from offline_mbrl.precision import Precision
from offline_mbrl.results.published import BUILTIN, SHIPPED
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics
from offline_mbrl.training.job import Job, make_job


class Run(Config):
    """One row of the grid: an algorithm and what sets it apart; absent fields are the suite's.

    The algorithm `*` stands for a row of every registered one that no other row names.
    """

    algorithm: str
    tasks: tuple[str, ...] | None = None
    preset: str | None = None
    steps: int | None = Field(None, ge=1)
    evaluate_every: int | None = Field(None, ge=1)
    set: dict[str, Any] = Field(default_factory=dict, description="hyper-parameters laid over the presets")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="hyper-parameters with several values each; every combination is a job"
    )


class Suite(Config):
    """What a suite file says; `[[run]]` tables are its rows."""

    tasks: tuple[str, ...] = Field(min_length=1)
    source: str = "builtin"
    size: int | None = Field(None, ge=1)
    physics: Physics = DEFAULT_PHYSICS
    seeds: int = Field(1, ge=1, description="seeds 0 .. seeds - 1")
    seeds_per_job: int | None = Field(None, ge=1, description="seeds of one program; all of them when absent")
    steps: int | None = Field(None, ge=1)
    evaluate_every: int = Field(5000, ge=1)
    episodes: int = Field(10, ge=1)
    precision: Precision = "default"
    set: dict[str, Any] = Field(default_factory=dict, description="hyper-parameters for all runs that have them")
    parallel: int = Field(1, ge=1, description="jobs at once where --parallel does not say, if there are the cores")
    published: Path | None = Field(
        None, description="published scores to show beside: builtin, or a CSV, relative to this file"
    )
    run: tuple[Run, ...] = Field(min_length=1)


def read_suite(path: Path) -> Suite:
    """The suite in `path`; `UserError` where it is missing, is not TOML, or has an unknown or wrong entry."""
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"cannot read the suite {path}: {(error.strerror or str(error)).lower()}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise UserError(describe_first(error, str(path))) from None
    published = suite.published and (SHIPPED if str(suite.published) == BUILTIN else path.parent / suite.published)
    if published and not published.is_file():
        raise UserError(
            f"{path} names published scores at {published}, where no file is; correct or remove 'published'"
        )
    return suite.model_copy(update={"published": published})


def jobs(suite: Suite) -> list[Job]:
    """Every job of the suite, in the order of the file: by run, combination of its grid, task, block of seeds.

    Raises:
      UserError: an unknown name, a wrong value, or a setting for all runs that none of them has.
    """
    rows, everywhere = _rows(suite), flattened(suite.set)
    common = {run.algorithm: applicable(get_definition(run.algorithm), everywhere) for run in rows}
    for name in everywhere:
        if not any(name in known for known in common.values()):
            raise UserError(f"no algorithm of the suite has the setting '{name}'; correct it or take it out of [set]")
    return [
        make_job(
            run.algorithm,
            task,
            preset=run.preset,
            steps=suite.steps if run.steps is None else run.steps,
            overrides=common[run.algorithm] | flattened(run.set) | chosen,
            source=suite.source,
            size=suite.size,
            physics=suite.physics,
            seeds=seeds,
            evaluate_every=run.evaluate_every or suite.evaluate_every,
            episodes=suite.episodes,
            precision=suite.precision,
        )
        for run in rows
        for chosen in combinations(run.grid)
        for task in run.tasks or suite.tasks
        for seeds in _blocks(suite.seeds, suite.seeds_per_job or suite.seeds)
    ]


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every choice of one value for each name, the last name running fastest; one empty choice without a grid.

    Raises:
      UserError: a name has no values.
    """
    empty = [name for name, values in grid.items() if not values]
    if empty:
        raise UserError(f"grid.{empty[0]} has no values; give at least one or take it out")
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _rows(suite: Suite) -> list[Run]:
    """The rows of the grid, those of `*` spelled out."""
    named = {canonical(run.algorithm) for run in suite.run}
    rows: list[Run] = []
    for run in suite.run:
        algorithms = definitions().keys() - named if run.algorithm == "*" else [run.algorithm]
        rows += [run.model_copy(update={"algorithm": name}) for name in sorted(algorithms)]
    return rows


def _blocks(seeds: int, block: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, seeds, block):
        yield tuple(range(start, min(start + block, seeds)))
