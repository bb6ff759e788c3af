"""The numbers in the documentation are those of the records in the repository."""

from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch.reproduction import BEGIN, END, report, scores, write_between
from offline_mbrl.results.layout import as_markdown
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.robustness.gather import gather_robustness
from offline_mbrl.results.robustness.tables import robustness_tables
from offline_mbrl.storage.records import find_jobs

ROOT = Path(__file__).parents[1]


def test_the_page_prints_what_the_records_say() -> None:
    page = (ROOT / "docs/reproduction.md").read_text()
    assert report(ROOT / "experiments/results") in page, "run `make pages`"


def test_the_anchors_page_prints_what_their_records_say() -> None:
    assert scores(ROOT / "experiments/results/anchors") in (ROOT / "docs/anchors.md").read_text(), "run `make pages`"


def test_what_stands_around_the_marks_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(UserError, match="has not the marks"):
        write_between(page, "new")


def test_the_guide_prints_what_the_robustness_records_say() -> None:
    folders = find_jobs([ROOT / "experiments/results/robustness"])
    page = (ROOT / "docs/guide/robustness.md").read_text()
    tables = robustness_tables(gather_robustness(folders), Style(1))
    assert len(tables) == 6
    for table in tables:
        assert as_markdown(table).strip() in page
