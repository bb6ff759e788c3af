"""Other people's scores, for a block of their own beside ours: they were made on other data, and the block says so."""

import csv
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

from offline_mbrl.errors import UserError
from offline_mbrl.results.groups import Group, column_labels, row_label, unique_columns
from offline_mbrl.results.intervals import t_interval
from offline_mbrl.results.layout import Table
from offline_mbrl.results.numbers import Style, signed
from offline_mbrl.results.statistics import Estimate

FIELDS = ("algorithm", "task", "version", "mean", "std", "source", "protocol")
VARIANT = "variant"
"""What the first column may be called: a row of a suite, by the name that the suite gives it."""
SHIPPED = Path(__file__).with_name("published_scores.csv")
BUILTIN, NONE = "builtin", "none"

Record = dict[str, str]


def find_published(name: str | None) -> Path | None:
    """The CSV that `--published` names: `builtin` is the one of this package, `none` no file."""
    if name is None or name == NONE:
        return None
    return SHIPPED if name == BUILTIN else Path(name)


def published_blocks(path: Path, groups: Sequence[Group], style: Style, version: str = "v2") -> list[Table]:
    """The scores in `path` of the algorithms and tasks of `groups`, and ours minus theirs; no block where none fits.

    Raises:
        UserError: the file cannot be read, has other columns or says something twice.
    """
    algorithms, columns = {group.row[0] for group in groups}, unique_columns(groups)
    tasks = list(dict.fromkeys(column.task for column in columns))
    records = select(read(path), algorithms, tasks, version)
    if not records:
        return []
    return [lay_out_published(records, tasks, version), lay_out_differences(records, groups, style)]


def select(records: Iterable[Record], algorithms: Iterable[str], tasks: Iterable[str], version: str) -> list[Record]:
    """The records of some algorithms, tasks and one version of D4RL's data."""
    names, places = set(algorithms), set(tasks)
    return [one for one in records if one["version"] == version and one["algorithm"] in names and one["task"] in places]


def lay_out_published(records: Sequence[Record], tasks: Sequence[str], version: str) -> Table:
    """A line for each algorithm and source, a column per task."""
    names = line_labels(records)
    cells = {(names[_line(record)], record["task"]): _cell(record) for record in records}
    protocols = dict.fromkeys(f"{record['source']}: {record['protocol']}" for record in records)
    lines = [[name, *(cells.get((name, task), "") for task in tasks)] for name in sorted(set(names.values()))]
    caption = (
        f"Published scores on D4RL {version}, not ours and not on the data above; mean ± what its authors state. "
        f"Protocols: {'; '.join(protocols)}."
    )
    return Table(["published", *tasks], lines, caption)


def lay_out_differences(records: Sequence[Record], groups: Sequence[Group], style: Style) -> Table:
    """Ours minus each published mean, with the t-interval of ours; the published mean counts as exact."""
    columns = column_labels(unique_columns(groups))
    ours = {(group.row, group.column): t_interval(group.final_scores) for group in groups if group.counted}
    theirs = published_means(records)
    rows = dict.fromkeys(group.row for group in groups)
    lines = [
        [
            f"{row_label(row)} − {_bracket(name)}",
            *(_minus(ours.get((row, one)), means.get(one.task), style) for one in columns),
        ]
        for row in rows
        for (algorithm, name), means in theirs.items()
        if row[0] == algorithm
    ]
    caption = (
        "Ours minus the published means, with the 95 % t-interval over our seeds. The data, the physics and the "
        "length of training are those of each table, so a difference of 0 is no reproduction unless they agree."
    )
    return Table(["difference", *columns.values()], lines, caption)


def published_means(records: Sequence[Record]) -> dict[tuple[str, str], dict[str, float]]:
    """Means by task of each algorithm and label of a line, such as ("mopo", "mopo (OfflineRL-Kit README)")."""
    names = line_labels(records)
    means: dict[tuple[str, str], dict[str, float]] = {}
    for record in records:
        means.setdefault((record["algorithm"], names[_line(record)]), {})[record["task"]] = float(record["mean"])
    return dict(sorted(means.items()))


def line_labels(records: Iterable[Record]) -> dict[tuple[str, str, str], str]:
    """What each algorithm, source and protocol is called: as short as tells the lines of a table apart."""
    lines = dict.fromkeys(map(_line, records))
    labels: dict[tuple[str, str, str], str] = {}
    for line in lines:
        ways = [[form(one) for one in lines] for form in FORMS]
        apart = next((form for form, way in zip(FORMS, ways, strict=True) if way.count(form(line)) == 1), _whole)
        labels[line] = apart(line)
    return labels


def read(path: Path) -> list[Record]:
    """The records of a CSV of published scores.

    Raises:
        UserError: it cannot be read, is no text, has other columns, or a row is short, long, repeated or without a
            number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            found = tuple(reader.fieldnames or ())
            if found not in (FIELDS, (VARIANT, *FIELDS[1:])):
                raise UserError(f"{path} has not the columns {', '.join(FIELDS)}; see the file that `builtin` names")
            reader.fieldnames = FIELDS
            lines = [(reader.line_num, _checked(record, f"line {reader.line_num} of {path}")) for record in reader]
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV of published scores ({error})") from error
    _refuse_repeats(lines, path)
    return [record for _, record in lines]


def _refuse_repeats(lines: Iterable[tuple[int, Record]], path: Path) -> None:
    first: dict[object, int] = {}
    for number, record in lines:
        before = first.setdefault((*_line(record), record["task"], record["version"]), number)
        if before != number:
            raise UserError(f"line {number} of {path} repeats line {before}; name what differs in source or protocol")


def _checked(record: Record, where: str) -> Record:
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


def _line(record: Record) -> tuple[str, str, str]:
    return record["algorithm"], record["source"], record["protocol"]


def _short(line: tuple[str, str, str]) -> str:
    """`mopo (OfflineRL-Kit README)`: the algorithm and whose number it is, without the details of the source."""
    algorithm, source, _ = line
    return f"{algorithm} ({source.partition(' (')[0].partition(',')[0]})"


def _long(line: tuple[str, str, str]) -> str:
    return f"{line[0]} ({line[1]})"


def _whole(line: tuple[str, str, str]) -> str:
    return f"{line[0]} ({line[1]}; {line[2]})"


FORMS = (_short, _long)


def _bracket(label: str) -> str:
    """What stands in the brackets of a label."""
    return label.partition("(")[2].removesuffix(")")


def _cell(record: Record) -> str:
    return f"{record['mean']} ± {record['std']}" if record["std"] else record["mean"]


def _minus(ours: Estimate | None, theirs: float | None, style: Style) -> str:
    if ours is None or theirs is None:
        return ""
    bounds = (None if bound is None else bound - theirs for bound in ours[1:])
    return signed(Estimate(ours.value - theirs, *bounds), style)
