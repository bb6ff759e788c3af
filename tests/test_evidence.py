"""The numbers in the documentation are those of the records in the repository."""

from contextlib import suppress
from pathlib import Path

import pytest

from offline_mbrl.cli import app as cli

ROOT = Path(__file__).parents[1]


def test_the_page_prints_what_the_records_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["offline-mbrl", "table", str(ROOT / "experiments/results/evidence")])
    with suppress(SystemExit):
        cli.main()
    scores, caption, *others = capsys.readouterr().out.strip().split("\n\n")
    differences = next(block for block in others if block.startswith("| difference"))
    page = (ROOT / "docs/reproduction.md").read_text()
    for block in (scores, caption, differences):
        assert block in page
