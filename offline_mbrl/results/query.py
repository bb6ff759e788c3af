"""Score curves of every seed below some folders, gathered with DuckDB from the files of the jobs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from offline_mbrl.errors import UserError
from offline_mbrl.storage.records import ENVIRONMENT, JOB, SCORES, Status, diverged_seeds, find_jobs, job_status

SeedStatus = Status | Literal["diverged"]

JOB_COLUMNS = {
    "algorithm": "VARCHAR",
    "task": "VARCHAR",
    "source": "VARCHAR",
    "physics": "VARCHAR",
    "seeds": "BIGINT[]",
    "steps": "BIGINT",
    "evaluate_every": "BIGINT",
    "episodes": "BIGINT",
    "precision": "VARCHAR",
    "config": "JSON",
}
DATASET_COLUMNS = {
    "dataset": 'STRUCT("name" VARCHAR, "fingerprint" VARCHAR, "rows" BIGINT, "score_mean" DOUBLE, "score_std" DOUBLE)'
}
SCORE_COLUMNS = {"seed": "BIGINT", "step": "BIGINT", "variant": "VARCHAR", "score": "DOUBLE"}

QUERY = """
WITH jobs AS (
    SELECT parse_dirpath(filename) AS folder, * EXCLUDE (filename, seeds), unnest(seeds) AS seed
    FROM read_json($jobs, columns = $job_columns, format = 'unstructured', filename = true)
), datasets AS (
    SELECT parse_dirpath(filename) AS folder, dataset
    FROM read_json($environments, columns = $dataset_columns, format = 'unstructured', filename = true)
), curves AS (
    SELECT
        parse_dirpath(filename) AS folder, seed, variant,
        list(step ORDER BY step) AS at, list(score ORDER BY step) AS scores
    -- the torn last line of a killed job reads as a row of nulls
    FROM read_json(
        $scores, columns = $score_columns, format = 'newline_delimited', filename = true, ignore_errors = true
    )
    WHERE score IS NOT NULL
    GROUP BY ALL
)
SELECT * FROM jobs JOIN datasets USING (folder) LEFT JOIN curves USING (folder, seed) ORDER BY folder, seed, variant
"""


@dataclass(frozen=True)
class Column:
    """What a score must share to stand beside another: the task, and the data and physics behind it."""

    task: str
    source: str
    physics: str
    fingerprint: str


@dataclass(frozen=True)
class Dataset:
    """What is known of a column's data; `score_mean` and `score_std` are of its episodes' normalized scores."""

    name: str
    rows: int | None
    score_mean: float | None
    score_std: float | None


@dataclass(frozen=True)
class Curve:
    """The evaluations of one seed of one job: mean normalized score `scores` [n] after gradient steps `at` [n]."""

    algorithm: str
    column: Column
    dataset: Dataset
    settings: Mapping[str, object]
    """Steps, protocol, precision, configuration and way of acting, flat; what tells two rows of one algorithm apart."""
    seed: int
    status: SeedStatus
    at: list[int]
    scores: list[float]


def read_curves(run_dirs: Iterable[Path]) -> list[Curve]:
    """One curve per seed and job below `run_dirs`; the seeds that two jobs repeat with the same settings count once.

    Jobs that stopped before they knew their data set (no environment.json) have no scores and are passed over.

    Raises:
        UserError: no job is there, none has started, or a job's files are damaged.
    """
    folders = [folder for folder in find_jobs(run_dirs) if (folder / ENVIRONMENT).exists()]
    if not folders:
        raise UserError("none of the jobs has started; wait for the first evaluation or see their FAILED files")
    marks = {str(folder): (job_status(folder), diverged_seeds(folder)) for folder in folders}
    curves = [_curve(row, *marks[row["folder"]]) for row in _query(folders)]
    if not any(curve.scores for curve in curves):
        raise UserError("none of the jobs has been evaluated yet; wait for the first evaluation")
    return _without_repeats(curves)


def flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings with dotted names: {"a": {"b": 1}} -> {"a.b": 1}."""
    result: dict[str, object] = {}
    for name, value in config.items():
        nested = flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
        result.update(nested)
    return result


def _query(folders: list[Path]) -> list[dict[str, Any]]:
    parameters = {
        "jobs": [str(folder / JOB) for folder in folders],
        "environments": [str(folder / ENVIRONMENT) for folder in folders],
        "scores": [str(folder / SCORES) for folder in folders if (folder / SCORES).exists()],
        "job_columns": JOB_COLUMNS,
        "dataset_columns": DATASET_COLUMNS,
        "score_columns": SCORE_COLUMNS,
    }
    if not parameters["scores"]:
        return []
    try:
        with duckdb.connect() as connection:
            result = connection.execute(QUERY, parameters)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    except duckdb.InvalidInputException as error:
        raise UserError(f"a job's files are damaged: {str(error).splitlines()[0]}") from error


def _curve(row: Mapping[str, Any], job: Status, diverged: frozenset[int]) -> Curve:
    dataset = row["dataset"]
    protocol = {name: row[name] for name in ("steps", "evaluate_every", "episodes", "precision")}
    acting = {"variant": row["variant"]} if row["variant"] else {}
    return Curve(
        algorithm=row["algorithm"],
        column=Column(row["task"], row["source"], row["physics"], dataset["fingerprint"]),
        dataset=Dataset(dataset["name"], dataset["rows"], dataset["score_mean"], dataset["score_std"]),
        settings=protocol | flat(json.loads(row["config"] or "{}")) | acting,
        seed=row["seed"],
        status="diverged" if row["seed"] in diverged else job,
        at=row["at"] or [],
        scores=row["scores"] or [],
    )


def _without_repeats(curves: Iterable[Curve]) -> list[Curve]:
    """One curve per algorithm, column, settings and seed: the finished one, else the longest."""
    best: dict[object, Curve] = {}
    for curve in curves:
        key = (curve.algorithm, curve.column, json.dumps(curve.settings, sort_keys=True), curve.seed)
        best[key] = max(best.get(key, curve), curve, key=lambda one: (one.status == "finished", len(one.scores)))
    return list(best.values())
