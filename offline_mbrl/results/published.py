"""Other people's scores, for a block of their own beside ours: they were made on other data, and the block says so."""

import csv
from collections.abc import Iterable
from math import isfinite
from pathlib import Path

from offline_mbrl.errors import UserError
from offline_mbrl.results.layout import Table

FIELDS = ("algorithm", "task", "version", "mean", "std", "source", "protocol")


def lay_out_published(path: Path, tasks: Iterable[str], version: str = "v2") -> Table:
    """The rows of `path` on `tasks` for one version of D4RL's data; a line for each algorithm and source.

    Raises:
        UserError: the file cannot be read or has other columns.
    """
    columns = list(dict.fromkeys(tasks))
    records = [record for record in read(path) if record["version"] == version and record["task"] in columns]
    cells = {(_line(record), record["task"]): _cell(record) for record in records}
    protocols = dict.fromkeys(f"{record['source']}: {record['protocol']}" for record in records)
    lines = [[name, *(cells.get((name, task), "") for task in columns)] for name in sorted({_line(r) for r in records})]
    caption = (
        f"Published scores on D4RL {version}, not ours and not on the data above; mean ± what its authors state. "
        f"Protocols: {'; '.join(protocols)}."
    )
    return Table(["published", *columns], lines, caption)


def read(path: Path) -> list[dict[str, str]]:
    """The records of a CSV of published scores.

    Raises:
        UserError: it cannot be read, is no text, has other columns, or a row is short, long, or without a number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != FIELDS:
                raise UserError(f"{path} has not the columns {', '.join(FIELDS)}; see benchmarks/published_scores.csv")
            return [_checked(record, f"line {reader.line_num} of {path}") for record in reader]
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV of published scores ({error})") from error


def _checked(record: dict[str, str], where: str) -> dict[str, str]:
    if None in record or None in record.values():
        raise UserError(f"{where} has not {len(FIELDS)} values; a comma inside one needs quotes around it")
    for name in ("mean", "std"):
        if not _is_number(record[name]) and (record[name] or name == "mean"):
            raise UserError(f"{where} has {name} '{record[name]}', which is no number")
    return record


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _line(record: dict[str, str]) -> str:
    """`mopo (OfflineRL-Kit README)`: the algorithm and whose number it is, without the details of the source."""
    return f"{record['algorithm']} ({record['source'].partition(' (')[0].partition(',')[0]})"


def _cell(record: dict[str, str]) -> str:
    return f"{record['mean']} ± {record['std']}" if record["std"] else record["mean"]
