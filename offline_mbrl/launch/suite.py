"""A grid of jobs read from a TOML file: algorithms x settings x tasks x blocks of seeds, at several scales."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from offline_mbrl.algorithms.presets import applicable, flattened
from offline_mbrl.algorithms.registry import canonical, definitions, get_definition
from offline_mbrl.config import Config, describe_first
from offline_mbrl.errors import UserError, unknown_name
from offline_mbrl.precision import Precision
from offline_mbrl.results.published import BUILTIN, SHIPPED
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics
from offline_mbrl.training.job import Job, make_job

FULL = "full"
"""The scale of a suite as it is written, where its file has others."""


class Run(Config):
    """One row of the grid: an algorithm and what sets it apart; absent fields are the suite's.

    The algorithm `*` stands for a row of every registered one that no other row names.
    """

    algorithm: str
    name: str | None = Field(None, description="what a table calls it; the algorithm's name when absent")
    tasks: tuple[str, ...] | None = None
    preset: str | None = None
    steps: int | None = Field(None, ge=1)
    evaluate_every: int | None = Field(None, ge=1)
    set: dict[str, Any] = Field(default_factory=dict, description="hyper-parameters laid over the presets")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="hyper-parameters with several values each; every combination is a job"
    )


class Scale(Config):
    """What another size of a suite changes, in every run: whatever is set here goes before the suite and its runs."""

    cost: str = Field("", description="how long it takes, on what")
    tasks: tuple[str, ...] | None = Field(None, min_length=1, description="a run with tasks of its own keeps these")
    source: str | None = None
    size: int | None = Field(None, ge=1)
    seeds: int | None = Field(None, ge=1)
    seeds_per_job: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    evaluate_every: int | None = Field(None, ge=1)
    episodes: int | None = Field(None, ge=1)
    set: dict[str, Any] = Field(default_factory=dict, description="hyper-parameters for all runs that have them")
    grid: dict[str, list[Any]] = Field(default_factory=dict, description="values in place of a run's own")


class Suite(Config):
    """What a suite file says; `[[run]]` tables are its rows, `[scale.<name>]` tables its other sizes."""

    title: str = Field("", description="what it compares, in a line")
    cost: str = Field("", description="how long it takes, on what")
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
    scale: dict[str, Scale] = Field(default_factory=dict)


class Planned(NamedTuple):
    """A job and what its table calls it."""

    variant: str
    job: Job


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


def scales(suite: Suite) -> list[str]:
    """The names that `at_scale` knows, the smallest first; none for a suite of one size."""
    return list(dict.fromkeys([*suite.scale, FULL])) if suite.scale else []


def at_scale(suite: Suite, scale: str | None) -> Suite:
    """The suite at one of its scales; as it is written, which is `full`, without a name.

    Raises:
      UserError: it has no scale of that name, or a setting of the scale is none of any run.
    """
    if scale is None or (scale == FULL and scale in scales(suite) and FULL not in suite.scale):
        return suite
    if scale not in suite.scale:
        if not suite.scale:
            raise UserError(f"this suite has one size; leave --scale {scale} out")
        raise unknown_name("scale", scale, scales(suite))
    overlay, rows = suite.scale[scale], _rows(suite)
    last = flattened(overlay.set)
    _refuse_unknown(rows, last, f"[scale.{scale}.set]")
    top = overlay.model_dump(exclude_none=True, exclude={"set", "grid"})
    runs = tuple(_rescaled(run, overlay, last) for run in rows)
    return suite.model_copy(update=top | {"run": tuple(run for run in runs if run.tasks != ())})


def _rescaled(run: Run, overlay: Scale, last: Mapping[str, Any]) -> Run:
    """The row with what the overlay sets; of its own tasks those that the overlay keeps."""
    kept = run.tasks and overlay.tasks and tuple(task for task in run.tasks if task in overlay.tasks)
    changed = {
        "tasks": kept if run.tasks and overlay.tasks else run.tasks,
        "steps": None if overlay.steps else run.steps,
        "evaluate_every": None if overlay.evaluate_every else run.evaluate_every,
        "set": flattened(run.set) | applicable(get_definition(run.algorithm), dict(last)),
        "grid": {name: overlay.grid.get(name, values) for name, values in run.grid.items()},
    }
    return run.model_copy(update=changed)


def jobs(suite: Suite) -> list[Job]:
    """Every job of the suite, in the order of the file: by run, combination of its grid, task, block of seeds.

    Raises:
      UserError: an unknown name, a wrong value, or a setting for all runs that none of them has.
    """
    return [planned.job for planned in plan(suite)]


def plan(suite: Suite) -> list[Planned]:
    """The jobs of `jobs`, each with the name of its run and what of the run's grid was chosen."""
    rows, everywhere = _rows(suite), flattened(suite.set)
    _refuse_unknown(rows, everywhere, "[set]")
    return [
        Planned(_variant(run, chosen), _job(suite, run, everywhere, chosen, task, seeds))
        for run in rows
        for chosen in combinations(run.grid)
        for task in run.tasks or suite.tasks
        for seeds in _blocks(suite.seeds, suite.seeds_per_job or suite.seeds)
    ]


def _job(
    suite: Suite, run: Run, everywhere: dict[str, Any], chosen: dict[str, Any], task: str, seeds: tuple[int, ...]
) -> Job:
    common = applicable(get_definition(run.algorithm), everywhere)
    return make_job(
        run.algorithm,
        task,
        preset=run.preset,
        steps=suite.steps if run.steps is None else run.steps,
        overrides=common | flattened(run.set) | chosen,
        source=suite.source,
        size=suite.size,
        physics=suite.physics,
        seeds=seeds,
        evaluate_every=run.evaluate_every or suite.evaluate_every,
        episodes=suite.episodes,
        precision=suite.precision,
    )


def _variant(run: Run, chosen: Mapping[str, Any]) -> str:
    """As `mopo`, or `beta sweep, gap_weight=0.5` for a combination of a grid."""
    return ", ".join([run.name or canonical(run.algorithm), *(f"{name}={value}" for name, value in chosen.items())])


def _refuse_unknown(rows: Sequence[Run], settings: dict[str, Any], where: str) -> None:
    known = {name for run in rows for name in applicable(get_definition(run.algorithm), settings)}
    for name in settings:
        if name not in known:
            raise UserError(f"no algorithm of the suite has the setting '{name}'; correct it or take it out of {where}")


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
