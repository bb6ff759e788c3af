import sys
from collections.abc import Callable

import pytest

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.ranges import in_range
from offline_mbrl.errors import UserError

called: list[tuple[str, object]] = []


def commands() -> Commands:
    app, group = Commands(), Commands()

    @app.command
    def train(steps: int, seeds: int = 1) -> None:
        """Train something.

        Args:
          steps: how many.
          seeds: how many at once.
        """
        called.append(("train", (steps, seeds)))

    @group.command(name="import")
    def import_(count: int = 2) -> None:
        """Import something."""
        called.append(("import", count))

    @group.command
    def export() -> None:
        """Export something."""

    app.group("data", group)
    return app


def parse(monkeypatch: pytest.MonkeyPatch, *args: str) -> Callable[[], int | None]:
    monkeypatch.setattr(sys, "argv", ["prog", *args])
    called.clear()
    return commands().parse("prog", "Does something.")


def test_a_command_is_handed_back_and_called_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    command = parse(monkeypatch, "train", "--steps", "3")
    assert called == []
    command()
    assert called == [("train", (3, 1))]
    parse(monkeypatch, "data", "import", "--count", "5")()
    assert called == [("import", 5)]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["train"], "missing from prog train: --steps INT how many. (required); see prog train --help"),
        (["train", "--stesp", "3"], "missing from prog train: --steps INT how many. (required); see prog train --help"),
        (
            ["train", "--steps", "3", "--seds", "3"],
            "unrecognized options: --seds, 3; did you mean --seeds?; see prog --help",
        ),
        (["data"], "expected one of {import, export}; see prog --help"),
        (["train", "--steps"], "missing value for argument '--steps'. Expected 1 values; see prog train --help"),
    ],
)
def test_what_the_parser_says_is_one_line(args: list[str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        parse(monkeypatch, *args)
    assert str(caught.value) == line


def test_help_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(monkeypatch, "train", "--help")
    assert not end.value.code
    assert "how many at once." in capsys.readouterr().out


def test_ranges_name_the_flag_as_it_is_typed() -> None:
    in_range(1, steps=None, seeds=1)
    in_range(0, 5, first_seed=5)
    with pytest.raises(UserError, match="--evaluate-every 0 is out of range; give a number at least 1"):
        in_range(1, steps=1, evaluate_every=0)
    with pytest.raises(UserError, match="--first-seed 6 is out of range; give a number between 0 and 5"):
        in_range(0, 5, first_seed=6)
