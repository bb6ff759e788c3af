"""The files of a job's folder: JSON lines that survive a killed process, and small JSON files replaced as a whole.

A record is one line of JSON, sealed with a checksum. A process killed while it writes leaves at most one torn line, the
last, which every reader passes over and which `truncate_after` removes before a resumed run appends again. Whatever
else is not as it was written is an error that names the file and the line. Lines and files without a checksum, of
earlier versions, are taken as they are.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import naming, write_text
from offline_mbrl.storage.formats import LaterFormatError, check
from offline_mbrl.storage.seal import SealError, seal, unseal

Record = dict[str, Any]
"""One line: plain JSON values by name."""

Status = Literal["finished", "failed", "unfinished"]

JOB, ENVIRONMENT, SCORES, METRICS = "job.json", "environment.json", "scores.jsonl", "metrics.jsonl"
DIVERGED, DONE, FAILED = "diverged.json", "DONE", "FAILED"
SUITE = "suite.json"
"""Which row of which suite a job is, where a sweep started it."""


def append_records(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Add one line per record to `path` and return when they are on the disk.

    Numbers may be NumPy or JAX scalars; JSON has no word for NaN and infinity, which are written as null.
    """
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(_lines(records))
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path, *, whole: bool = False) -> list[Record]:
    """The records of `path` in order, none where it does not exist; a torn last line is passed over unless `whole`.

    Raises:
        UserError: a line is damaged, or repeats the seed, step and variant of another.
    """
    if not path.exists():
        return []
    records = list(_parse_lines(path, whole))
    _refuse_repeats(path, records)
    return records


def read_log(path: Path) -> list[Record]:
    """The records of a file in which a seed and step may come again, as it does when it is evaluated anew."""
    return list(_parse_lines(path, False)) if path.exists() else []


def truncate_after(path: Path, step: int) -> None:
    """Keep the records of `path` up to and including `step`, where a run resumes; the file is replaced as a whole."""
    if not path.exists():
        return
    write_text(path, _lines(record for record in read_records(path) if _step(path, record) <= step))


def write_json(path: Path, value: object) -> None:
    """Write `value` as the whole of `path`, which holds either the old content or the new one at any moment."""
    write_text(path, seal(_dumps(value, indent=2)) + "\n")


def read_json(path: Path, missing: Any = None) -> Any:
    """The JSON value of `path`, or `missing` where it does not exist.

    Raises:
        UserError: it is not JSON, not what was written, lacks what every file of its name has, or a later version's.
    """
    if not path.exists():
        return missing
    try:
        value, _ = unseal(path.read_bytes())
        check(path.name, value)
    except LaterFormatError as error:
        raise UserError(f"{path} {error}; install a newer one") from error
    except SealError as error:
        raise damaged(path, error) from error
    return value


def find_jobs(paths: Iterable[Path]) -> list[Path]:
    """The folders at or below `paths` that hold a job, each once, sorted.

    Raises:
        UserError: there is no path, one does not exist, or no job is below any of them.
    """
    roots = list(paths)
    if not roots:
        raise UserError("no folder of runs was named; name one that `train` or `sweep` wrote")
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is not a folder; name one that `train` or `sweep` wrote")
    jobs = sorted({Path(folder).resolve() for root in roots for folder in _folders_with(root, JOB)})
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
    return frozenset(report["seed"] for report in read_json(folder / DIVERGED, missing=[]))


def damaged(what: object, why: object) -> UserError:
    """The error for a file, or a line of one, that is not as it was written."""
    return UserError(f"{what} is damaged ({why}); remove its folder and run the job again")


def _folders_with(root: Path, name: str) -> Iterator[str]:
    """The folders at or below `root` that hold a file `name`; one that cannot be read is an error, not left out."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a run that goes on removes its older checkpoints
            raise error

    for folder, _, files in os.walk(root, onerror=fail):
        if name in files:
            yield folder


def _parse_lines(path: Path, whole: bool) -> Iterator[Record]:
    *lines, tail = path.read_bytes().split(b"\n")
    if tail and (whole or not _is_torn(tail)):
        lines.append(tail)
    sealed_before = None
    for number, line in enumerate(lines, 1):
        try:
            record, is_sealed = unseal(line)
        except SealError as error:
            raise damaged(f"line {number} of {path}", error) from error
        if not isinstance(record, dict) or sealed_before not in (None, is_sealed):
            raise damaged(f"line {number} of {path}", "no record with its checksum")
        sealed_before = is_sealed
        yield record


def _is_torn(tail: bytes) -> bool:
    """Whether what follows the last newline is the beginning of a line, not a whole one that lost its newline."""
    return not any(map(_is_sealed, (tail, tail[:-1])))


def _is_sealed(line: bytes) -> bool:
    try:
        return unseal(line)[1]
    except SealError:
        return False


def _refuse_repeats(path: Path, records: Iterable[Record]) -> None:
    first: dict[object, int] = {}
    for number, record in enumerate(records, 1):
        key = str([record.get(name) for name in ("seed", "step", "variant")])
        before = first.setdefault(key, number)
        if before != number:
            raise damaged(f"line {number} of {path}", f"it repeats line {before}: two processes wrote there")


def _step(path: Path, record: Record) -> int:
    step = record.get("step")
    if not isinstance(step, int):
        raise damaged(path, "a record without its step")
    return step


def _lines(records: Iterable[Mapping[str, object]]) -> str:
    return "".join(seal(_dumps(record)) + "\n" for record in records)


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
