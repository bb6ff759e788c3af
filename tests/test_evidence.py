"""The numbers in the documentation are those of the records in the repository."""

from contextlib import suppress
from pathlib import Path

import pytest

from offline_mbrl.cli import app as cli
from offline_mbrl.results.layout import as_markdown
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.robustness.gather import gather_robustness
from offline_mbrl.results.robustness.tables import robustness_tables
from offline_mbrl.storage.records import find_jobs

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


def test_the_guide_prints_what_the_robustness_records_say() -> None:
    folders = find_jobs([ROOT / "experiments/results/robustness"])
    page = (ROOT / "docs/guide/robustness.md").read_text()
    tables = robustness_tables(gather_robustness(folders), Style(1))
    assert len(tables) == 6
    for table in tables:
        assert as_markdown(table).strip() in page
