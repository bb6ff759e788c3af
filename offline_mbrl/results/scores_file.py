"""Scores as one file, Parquet or CSV, and a results folder made of one.

The file holds what tables and figures are made of, so the folder reads like the runs themselves. DuckDB or pandas read
it in one line: `duckdb.sql("select * from 'scores.parquet'")`.
"""

import csv
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from offline_mbrl.config import describe_first
from offline_mbrl.errors import UserError
from offline_mbrl.results.evaluation_rows import FIELDS, Evaluation, from_rows, to_rows
from offline_mbrl.results.imported_job import write_job
from offline_mbrl.results.query import read_curves
from offline_mbrl.storage.files import write_atomically

ENDINGS = (".parquet", ".csv")
SQL = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE"}


def export_scores(run_dirs: Sequence[Path], path: Path) -> Path:
    """Writes the evaluations of all jobs below `run_dirs` to `path`, which is returned.

    Raises:
        UserError: the ending is neither .parquet nor .csv, or there is nothing to export.
    """
    ending = _ending(path)
    rows = [row for curve in read_curves(run_dirs) for row in to_rows(curve)]
    with tempfile.TemporaryDirectory() as folder, write_atomically(path) as file:
        written = Path(folder) / "scores.csv"
        _write_csv(written, rows)
        if ending == ".parquet":
            written = _to_parquet(written)
        file.write(written.read_bytes())
    return path


def import_scores(path: Path, out: Path) -> tuple[int, int]:
    """Writes a job's folder below `out` for every seed in `path`; returns how many seeds, and how many of them are new.

    What was imported before is left as it is, so files of several groups go into one folder.

    Raises:
        UserError: the file is no export of scores, or a row of it is not sound.
    """
    curves = [from_rows(rows, path) for rows in _by_seed(read_rows(path))]
    return len(curves), sum(write_job(curve, out, path.name) for curve in curves)


def read_rows(path: Path) -> list[Evaluation]:
    """The rows of an export.

    Raises:
        UserError: it cannot be read, lacks a column, or a value is none that the column may have.
    """
    names, values = _read_table(path)
    missing = [name for name in FIELDS if name not in names]
    if missing:
        raise UserError(f"{path} has no column '{missing[0]}'; see `offline-mbrl export --schema`")
    try:
        rows = [Evaluation.model_validate(dict(zip(names, value, strict=True))) for value in values]
    except ValidationError as error:
        raise UserError(describe_first(error, str(path))) from None
    if not rows:
        raise UserError(f"{path} holds no row")
    return rows


def _by_seed(rows: Iterable[Evaluation]) -> list[list[Evaluation]]:
    """Rows that differ in nothing but the evaluation."""
    found: dict[object, list[Evaluation]] = {}
    for row in rows:
        found.setdefault(row.model_copy(update={"step": None, "score": None}), []).append(row)
    return list(found.values())


def _write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _to_parquet(path: Path) -> Path:
    written = path.with_suffix(".parquet")
    with duckdb.connect() as connection:
        table = connection.read_csv(
            str(path), header=True, dtype=_types(), quotechar='"', escapechar='"', delimiter=","
        )
        table.write_parquet(str(written), compression="zstd")
    return written


def _read_table(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    """Names of the columns, and the rows."""
    ending = _ending(path)
    try:
        return _read_csv(path) if ending == ".csv" else _read_parquet(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (duckdb.Error, UnicodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _read_csv(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = [*csv.reader(file, strict=True)] or [[]]
    if any(len(row) != len(names) for row in rows):
        raise csv.Error("its rows have not as many values as its head")
    return names, [[value or None for value in row] for row in rows]


def _read_parquet(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    """What is read is a copy, for DuckDB takes signs in a name for patterns."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        copy = Path(folder) / "scores.parquet"
        shutil.copyfile(path, copy)
        found = connection.read_parquet(str(copy))
        return list(found.columns), list(found.fetchall())


def _types() -> dict[str, str]:
    """The SQL type of each column."""
    properties = Evaluation.model_json_schema()["properties"]
    return {name: _sql_type(properties[name]) for name in FIELDS}


def _sql_type(entry: Mapping[str, Any]) -> str:
    kinds = [entry] if "type" in entry else entry["anyOf"]
    return SQL[kinds[0]["type"]]


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = re.sub(r"\s+", " ", str(error))[:160]
    return UserError(f"{path} is no export of scores ({reason}); write one with `offline-mbrl export`")


def _ending(path: Path) -> str:
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"scores are kept as {' or '.join(ENDINGS)}, not as '{path.suffix}': {path}")
    return path.suffix.lower()
