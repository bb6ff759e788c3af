"""What a careless or hostile user may type and leave on the disk: every row ends in one line, and harms nothing.

A row is a command, the words that its one line must have, and its exit code. `{results}` stands for a folder of sound
runs, `{bad}` for a folder or file that `prepare` makes unsound, `{new}` for a path where nothing is.
"""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from offline_mbrl.results.published import FIELDS
from tests.cli.conftest import Run, hashes, write_run

LONG = "x" * 300
TRAIN = ("train", "bc", "hopper-medium", "--source", "synthetic", "--out", "{new}")
RUN = '[[run]]\nalgorithm = "bc"\n'
SUITE = f'tasks = ["hopper-medium"]\nsource = "synthetic"\nsize = 300\n{RUN}'
HEAD = ",".join(FIELDS) + "\n"
DAMAGED = ("is damaged", "remove its folder and run the job again")

Prepare = Callable[[Path], object]


class Row(NamedTuple):
    """One thing that may go wrong."""

    command: tuple[str, ...]
    words: tuple[str, ...]
    code: int = 2
    prepare: Prepare = lambda bad: None

    def __str__(self) -> str:
        return " ".join(self.command)[:80]


def row(command: str, *words: str, code: int = 2, prepare: Prepare = lambda bad: None) -> Row:
    return Row(tuple(command.split()), words, code, prepare)


def train(*options: str) -> tuple[str, ...]:
    return (*TRAIN, *options)


def file(content: str | bytes) -> Prepare:
    """Makes `{bad}` a file of this content."""
    return lambda bad: bad.write_bytes(content if isinstance(content, bytes) else content.encode())


def in_run(name: str, content: str | bytes, *, done: bool = True) -> Prepare:
    """Makes `{bad}` a run, one of whose files has this content."""

    def prepare(bad: Path) -> None:
        file(content)(write_run(bad) / name)
        if not done:
            (bad / "DONE").unlink()

    return prepare


NUMBERS = ("size", "seeds", "first-seed", "steps", "evaluate-every", "episodes")
PARSED = [
    *(
        Row(train(f"--{name}", text), (f"error parsing --{name}", "see offline-mbrl"))
        for name, text in itertools.product(
            ("seeds", "first-seed", "evaluate-every", "episodes"), ("abc", "1.5", "1e3")
        )
    ),
    *(
        Row(train(f"--{name}", text), (f"--{name}", "see offline-mbrl"))
        for name, text in itertools.product(NUMBERS, ("", "ten", "0x10", "9" * 5000, "1 2"))
    ),
    *(
        Row(train(f"--{name}", "nonsense"), ("invalid choice 'nonsense'", f"--{name}"))
        for name in ("physics", "precision", "device")
    ),
    *(Row(train(f"--{name}"), ("missing value", f"--{name}")) for name in ("steps", "preset", "data-dir", "set")),
    row("sweep {bad} --lanes nonsense", "invalid choice 'nonsense'", "--lanes"),
    Row(train("--checkpoint-every", "often"), ("--checkpoint-every", "see offline-mbrl")),
    row("table {results} --format nonsense", "invalid choice 'nonsense'", "--format"),
    row("trian bc hopper-medium", "unrecognized options: trian", "Available subcommands"),
    row("train bc hopper-medium --stps 3", "unrecognized options: --stps", "did you mean --steps?"),
    row("train", "missing", "ALGORITHM", "TASK", "see offline-mbrl train --help"),
    row("train bc", "missing", "TASK"),
    row("sweep", "missing", "SUITE"),
    row("evaluate", "missing", "RUN"),
    row("evaluate {results} {results}", "unrecognized options"),
    row("plot", "results is not a folder"),
    row("table", "results is not a folder"),
    row("compare --baseline bc", "results is not a folder"),
    row("compare {results}", "missing", "--baseline"),
    row("export", "results is not a folder"),
    row("import", "missing", "SCORES"),
    row("table {results} --digits -1", "--digits -1 is out of range"),
    row("plot {results} --kind nonsense", "invalid choice 'nonsense'", "--kind"),
    row("", "expected one of", "train", "see offline-mbrl --help"),
    row("data", "expected one of", "build"),
    row("data nonsense", "unrecognized options: nonsense"),
    row("data build", "missing", "TASK"),
]

RANGES = [
    *(
        Row(train(f"--{name}", number), (f"--{name} {number} is out of range", "at least 1"))
        for name, number in itertools.product(
            ("size", "steps", "evaluate-every", "episodes"), ("0", "-1", f"-{10**30}")
        )
    ),
    *(
        Row(train("--seeds", number), (f"--seeds {number} is out of range", "between 1 and 4096"))
        for number in ("0", "-3", "4097", str(10**12))
    ),
    *(
        Row(train("--first-seed", number), (f"--first-seed {number} is out of range", "between 0 and 4294967295"))
        for number in ("-1", str(2**32), str(10**30))
    ),
    Row(train("--first-seed", str(2**32 - 1), "--seeds", "2"), ("--first-seed", "between 0 and 4294967294")),
    *(
        Row(train("--checkpoint-every", text), (f"--checkpoint-every {text} is out",))
        for text in ("-1.0", "nan", "-inf")
    ),
    row("sweep {bad} --checkpoint-every -1", "--checkpoint-every -1.0 is out of range; give a number at least 0"),
    *(row(f"sweep {{bad}} --parallel {number}", f"--parallel {number} is out of range") for number in (0, -1)),
    *(row(f"evaluate {{results}}/sound --episodes {number}", f"--episodes {number} is out of") for number in (0, -1)),
    *(row(f"evaluate {{results}}/sound --seed {number}", f"--seed {number} is out of range") for number in (-1, 2**31)),
    Row(train("--steps", "7000"), ("7000 steps are not a multiple of the 5000", "--evaluate-every")),
    Row(train("--steps", str(10**30 + 1)), ("are not a multiple of",)),
]

SETTINGS = [
    *(
        Row(train("--steps", "10", "--evaluate-every", "10", "--set", text), words)
        for text, words in {
            "hidden": ("--set needs key=value, not 'hidden'",),
            "": ("--set needs key=value",),
            "=1": ("--set needs key=value, not '=1'",),
            "hiden=[8]": ("did you mean 'hidden'?",),
            "hidden=8": ("hidden",),
            'hidden="8"': ("hidden",),
            "hidden=[[8]]": ("hidden",),
            "hidden={}": ("hidden",),
            "hidden=[0]": ("hidden", "greater than or equal to 1"),
            "hidden=[8,-1]": ("hidden", "greater than or equal to 1"),
            "batch_size=0": ("batch_size",),
            "batch_size=-1": ("batch_size",),
            "batch_size=NaN": ("batch_size",),
            "batch_size=Infinity": ("batch_size",),
            "batch_size=1e999": ("batch_size",),
            "batch_size=null": ("batch_size",),
            "batch_size=1.5": ("batch_size",),
            f"batch_size={'9' * 5000}": ("batch_size",),
            f"batch_size={'[' * 100_000}": ("nested too deeply",),
            "batch_size.a=1": ("batch_size",),
            "__class__=1": ("__class__",),
            "../x=1": ("unknown bc setting",),
            "\x1b[31m=1": (r"unknown bc setting '\x1b[31m'",),
        }.items()
    ),
    Row(train("--set", "batch_size=8", "--set", "batch_size=9"), ("--set gives batch_size twice",)),
]

NAMES = [
    row("train nonsense hopper-medium", "unknown algorithm 'nonsense'"),
    row("train mop hopper-medium", "did you mean 'mopo'?"),
    row("train bc hoper-medium", "did you mean 'hopper-medium'?"),
    row("train bc ../../etc/passwd", "unknown task '../../etc/passwd'"),
    row("train bc hopper-medium --preset nonsense", "nonsense"),
    row("train bc hopper-medium --source nonsense --out {new}", "unknown data source 'nonsense'"),
    row("algorithms nonsense", "unknown algorithm 'nonsense'"),
    row("algorithms bc --task nonsense", "unknown task 'nonsense'"),
    row("data build nonsense", "unknown task 'nonsense'"),
    row("data collect nonsense", "unknown robot 'nonsense'"),
    row("sweep {bad} --gpus 0 0", "GPU 0 is named twice", prepare=file(SUITE)),
    row("sweep {bad} --out {new} --parallel 1", "job bc-hopper-medium-", "is named twice", prepare=file(SUITE + RUN)),
]

PATHS = [
    *(row(f"{command} {{new}}", "{new} is not a folder") for command in ("table", "plot")),
    *(row(f"{command} {{bad}}", "{bad} is not a folder", prepare=file("x")) for command in ("table", "plot")),
    *(row(f"{command} {{bad}}", "no job under {bad}", prepare=Path.mkdir) for command in ("table", "plot")),
    *(
        row(f"{command} {LONG}", "file name too long", "choose a shorter name")
        for command in ("table", "plot", "evaluate")
    ),
    row(f"sweep {LONG}", "file name too long"),
    row(f"plot {{results}} --out {{new}}/{LONG}", "file name too long", "choose a shorter name"),
    row("plot {results} --out {bad}", "is a directory: {bad}; name a file", prepare=Path.mkdir),
    row("plot {results} --out {bad}/x/curves.png", "not a directory", "{bad}", prepare=file("x")),
    row("plot {results} --out .", "is a directory: .; name a file"),
    row(f"table {{results}} --published {LONG}", "file name too long"),
    row("table {results} --published {new}", "cannot read {new}: no such file"),
    row("table {results} --published {bad}", "cannot read {bad}: is a directory", prepare=Path.mkdir),
    row("plot {results} --out {new}.jpg", "written as .png, .pdf, .svg, not as '.jpg'"),
    row("plot {results} --kind improvement", "needs --baseline"),
    row("table {results} --only nonsense", "unknown algorithm or task 'nonsense'"),
    row("table {results} --sort nonsense", "unknown order 'nonsense'"),
    row("compare {results} --baseline nonsense", "unknown baseline 'nonsense'"),
    row("compare {results} --baseline bc", "nothing to compare with bc"),
    row("export {results} --out {new}.xlsx", "kept as .parquet or .csv, not as '.xlsx'"),
    row("import {new}.parquet", "cannot read {new}.parquet: no such file"),
    row("import {bad}", "kept as .parquet or .csv", prepare=file("x")),
    row("sweep {new}", "cannot read the suite {new}: no such file"),
    row("sweep {bad}", "cannot read the suite {bad}: is a directory", prepare=Path.mkdir),
    row("evaluate {new}", "{new} holds no run"),
    row("evaluate {bad}", "holds no run", prepare=Path.mkdir),
    row("evaluate {bad}", "{bad}", prepare=file("x")),
    Row(("train", "bc", "hopper-medium", "--source", "synthetic", "--out", LONG), ("file name too long",)),
    Row((*TRAIN[:-1], "{bad}"), ("cannot write to {bad}: file exists",), prepare=file("x")),
    Row((*TRAIN[:-1], "{bad}/run"), ("cannot write to {bad}/run: not a directory",), prepare=file("x")),
]

TABLES: dict[str | bytes, tuple[str, ...]] = {
    "": ("has not the columns",),
    "a,b\n1,2\n": ("has not the columns",),
    b"\x89PNG\r\n\x1a\n\x00\xff\xfe": ("not a CSV of published scores",),
    b"\xff\xfe" + HEAD.encode("utf-16-le"): ("not a CSV of published scores",),
    HEAD + "mopo,hopper-medium,v2\n": ("line 2", "has not 7 values"),
    HEAD + "mopo,hopper-medium,v2,1,2,a,b,c\n": ("line 2", "has not 7 values"),
    HEAD + "mopo,hopper-medium,v2,one,2,a,b\n": ("line 2", "mean 'one'", "no number"),
    HEAD + "mopo,hopper-medium,v2,,2,a,b\n": ("line 2", "mean ''", "no number"),
    HEAD + "mopo,hopper-medium,v2,1,nan,a,b\n": ("line 2", "std 'nan'", "no number"),
    HEAD + 'mopo,hopper-medium,v2,1,2,a,"b\n': ("not a CSV of published scores",),
    HEAD + "mopo,hopper-medium,v2,1,2,a,b\n\x00\n": ("{bad}",),
    HEAD + f"mopo,hopper-medium,v2,1,2,a,{'b' * 200_000}\n": ("not a CSV of published scores",),
}
PUBLISHED = [
    row("table {results} --published {bad}", *words, prepare=file(content)) for content, words in TABLES.items()
]

CONTENTS: dict[str, str | bytes] = {
    "empty": "",
    "object": "{}",
    "list": "[]",
    "number in a list": "[1]",
    "null": "null",
    "truncated": '{"id": "0123',
    "binary": b"\x00\xff\xfe\x80" * 10,
    "deep": "[" * 100_000,
    "long number": '{"id": ' + "9" * 5000 + "}",
    "wrong checksum": '{"id": "0123456789ab", "crc32": "00000000"}',
}
FILES = [
    *(
        row(f"{command} {{results}} {{bad}}", f"{{bad}}/{name}", *DAMAGED, prepare=in_run(name, content))
        for command, name, content in itertools.product(
            ("table", "plot"), ("job.json", "environment.json"), CONTENTS.values()
        )
    ),
    *(
        row("table {results} {bad}", "{bad}/diverged.json", *DAMAGED, prepare=in_run("diverged.json", content))
        for name, content in CONTENTS.items()
        if name != "list"
    ),
    *(
        row("evaluate {bad}", "{bad}/job.json", *DAMAGED, prepare=in_run("job.json", text))
        for text in CONTENTS.values()
    ),
    *(
        Row((*TRAIN[:-1], "{bad}"), ("{bad}/job.json", *DAMAGED), prepare=in_run("job.json", text))
        for text in CONTENTS.values()
    ),
    *(
        row("table {results} {bad}", "line 1 of {bad}/scores.jsonl", *DAMAGED, prepare=in_run("scores.jsonl", content))
        for content in (
            "{}\n",
            "[]\n",
            "1\n",
            "\n",
            b"\xff\n",
            '{"seed": 0}\n',
            '{"seed": 1, "step": 10, "score": 1}\n',
        )
    ),
    row(
        "table {results} {bad}",
        "{bad}/scores.jsonl",
        "evaluations of seed 0 are missing",
        prepare=in_run("scores.jsonl", ""),
    ),
    row(
        "table {results} {bad}",
        "line 1 of {bad}/scores.jsonl",
        *DAMAGED,
        prepare=in_run("scores.jsonl", '{"seed": 0, "st\n{"seed": 0, "step": 20, "score": 1}\n', done=False),
    ),
    Row((*TRAIN[:-1], "{results}/sound"), ("{results}/sound belongs to another run", "choose another --out")),
]

ROWS = [*PARSED, *RANGES, *SETTINGS, *NAMES, *PATHS, *PUBLISHED, *FILES]


@pytest.mark.parametrize("hostile", ROWS, ids=lambda hostile: str(hostile) if isinstance(hostile, Row) else None)
def test_one_line_that_names_what_is_wrong_and_no_harm(
    hostile: Row, run: Run, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"{results}": str(results), "{bad}": str(tmp_path / "bad"), "{new}": str(tmp_path / "new")}
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(work))
    hostile.prepare(tmp_path / "bad")
    before = hashes(results)
    ended = run(*(fill(part, places) for part in hostile.command))
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err[-3000:]
    assert ended.code == hostile.code, lines
    assert lines[0].startswith("error: ")
    assert [word for word in hostile.words if fill(word, places) not in lines[0]] == [], lines
    assert "Traceback" not in ended.err + ended.out
    assert {name for name in hashes(results) if not name.endswith(".lock")} == set(before)
    assert {name: value for name, value in hashes(results).items() if name in before} == before
    assert not list(work.glob("*crash*")), "a row was taken for a fault of the program"
    shutil.rmtree(work)


def fill(text: str, places: dict[str, str]) -> str:
    for name, path in places.items():
        text = text.replace(name, path)
    return text


def test_the_table_is_as_long_as_it_must_be() -> None:
    assert len(ROWS) >= 150
