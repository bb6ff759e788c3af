"""The files of a job's folder: JSON lines that survive a killed process, and small JSON files replaced as a whole.

A record is one line of JSON. A process killed while it writes leaves at most one torn line, the last, which every
reader passes over and which `truncate_after` removes before a resumed run appends again.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import write_text

Record = dict[str, Any]
"""One line: plain JSON values by name."""

Status = Literal["finished", "failed", "unfinished"]

JOB, ENVIRONMENT, SCORES, METRICS = "job.json", "environment.json", "scores.jsonl", "metrics.jsonl"
DIVERGED, DONE, FAILED = "diverged.json", "DONE", "FAILED"


def append_records(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Add one line per record to `path` and return when they are on the disk.

    Numbers may be NumPy or JAX scalars; JSON has no word for NaN and infinity, which are written as null.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(_lines(records))
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> list[Record]:
    """The records of `path` in order, none where it does not exist; a torn last line is passed over.

    Raises:
        UserError: a line other than the last is not a JSON object.
    """
    if not path.exists():
        return []
    return list(_parse_lines(path))


def truncate_after(path: Path, step: int) -> None:
    """Keep the records of `path` up to and including `step`, where a run resumes; the file is replaced as a whole."""
    if not path.exists():
        return
    write_text(path, _lines(record for record in read_records(path) if record["step"] <= step))


def write_json(path: Path, value: object) -> None:
    """Write `value` as the whole of `path`, which holds either the old content or the new one at any moment."""
    write_text(path, _dumps(value, indent=2) + "\n")


def read_json(path: Path, missing: Any = None) -> Any:
    """The JSON value of `path`, or `missing` where it does not exist; `UserError` when it is not JSON."""
    if not path.exists():
        return missing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove its folder and run the job again") from error


def find_jobs(paths: Iterable[Path]) -> list[Path]:
    """The folders at or below `paths` that hold a job, each once, sorted.

    Raises:
        UserError: a path does not exist, or there is no job below any of them.
    """
    roots = list(paths)
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is not a folder; name one that `train` or `sweep` wrote")
    jobs = sorted({file.parent.resolve() for root in roots for file in root.rglob(JOB)})
    if not jobs:
        raise UserError(f"no job under {', '.join(map(str, roots))}; name a folder that `train` or `sweep` wrote")
    return jobs


def job_status(folder: Path) -> Status:
    """What the marks in a job's folder say; no mark means that it still runs or was killed."""
    if (folder / DONE).exists():
        return "finished"
    return "failed" if (folder / FAILED).exists() else "unfinished"


def diverged_seeds(folder: Path) -> frozenset[int]:
    """The seeds of a job that were stopped because a quantity became NaN or grew without bound."""
    return frozenset(int(report["seed"]) for report in read_json(folder / DIVERGED, missing=[]))


def _parse_lines(path: Path) -> Iterator[Record]:
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        # The newline is written last, so a line without it is torn even when what is there happens to parse.
        if not line.endswith(b"\n"):
            return
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise UserError(f"line {number} of {path} is damaged; remove the job's folder and run it again") from error
        yield record


def _lines(records: Iterable[Mapping[str, object]]) -> str:
    return "".join(_dumps(record) + "\n" for record in records)


def _dumps(value: object, indent: int | None = None) -> str:
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: object) -> object:
    """`value` in JSON's own types: arrays as lists, non-finite numbers as None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):  # NumPy and JAX arrays and scalars
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
