"""Whatever is typed, the command line answers with a result or with one line."""

import contextlib
import inspect
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from offline_mbrl.cli import app as cli
from offline_mbrl.cli import results
from offline_mbrl.launch import sweep as sweep_module
from offline_mbrl.launch import work as work_module
from tests.cli.conftest import write_run

COMMANDS: tuple[Callable[..., None], ...] = (
    cli.train,
    cli.sweep,
    cli.evaluate,
    results.table,
    results.plot,
    results.compare,
    results.export,
    cli.algorithms,
)
KNOWN = ("bc", "mopo", "hopper-medium", "runs", "runs/sound", "suite.toml", "synthetic", "4", "10", "csv", "auto", ".")
WORD = st.one_of(
    st.sampled_from(KNOWN),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=()), max_size=20),
    st.tuples(st.sampled_from(("hidden", "batch_size", "x.y")), st.sampled_from(("=[8]", "=0", "=", "={}"))).map(
        "".join
    ),
)


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command with some words, and some of its own flags with or without one."""
    command = draw(st.sampled_from(COMMANDS))
    flags = [f"--{name.strip('_').replace('_', '-')}" for name in inspect.signature(command).parameters]
    options = draw(st.lists(st.tuples(st.sampled_from(flags), WORD), max_size=4))
    parts = [*draw(st.lists(WORD, max_size=3)), *(part for option in options for part in option)]
    return [command.__name__, *parts, *draw(st.lists(st.sampled_from(flags), max_size=1))]


def answer(line: list[str]) -> tuple[int, str]:
    """The exit code of the command line and what it said on stderr; nothing is trained."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", ["offline-mbrl", *line])
        patch.setattr(work_module, "work", lambda *args: 0)
        patch.setattr(sweep_module, "run_jobs", lambda *args: [])
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0), said.getvalue()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(lines())
@example(["train", "bc", "hopper-medium", "--seeds", "2", "--size", "300", "--source", "synthetic"])
@example(["table", "runs"])
def test_every_line_has_an_answer(line: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)  # where a crash would be reported
        write_run(Path("runs/sound"))
        Path("suite.toml").write_text('tasks = ["hopper-medium"]\n[[run]]\nalgorithm = "bc"\n')
        code, said = answer(line)
        crashes = [path.read_text() for path in Path(folder).glob("offline-mbrl-crash-*")]
    assert crashes == []
    assert code in (0, 2)
    assert len(said.splitlines()) == (code == 2), said
    assert said.startswith("error: ") or code == 0
