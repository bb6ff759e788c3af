"""The tables of the guides on trusting models and choosing policies are those of the records in the repository."""

from pathlib import Path

import pytest

from offline_mbrl.behavior.coverage import FILE as COVERAGE
from offline_mbrl.behavior.coverage_table import coverage_table
from offline_mbrl.model_error.study import read_study
from offline_mbrl.model_error.table import (
    Lines,
    calibration_table,
    horizon_table,
    markdown,
    penalty_table,
    termination_table,
)
from offline_mbrl.selection.bandit import Bandit, bandit_curve
from offline_mbrl.selection.pool import pooled_scores
from offline_mbrl.selection.scores import candidates, scores
from offline_mbrl.selection.study import FILE as SELECTION
from offline_mbrl.selection.table import bandit_table, candidate_table, score_table
from offline_mbrl.storage import records

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
ROBOTS = ("hopper", "halfcheetah", "walker2d")


def model_error_tables() -> list[Lines]:
    """Of the guide on model error, in its order."""
    studies = [record for robot in ROBOTS for record in read_study(RESULTS / "model_error" / robot)]
    covered = [path / COVERAGE for path in runs() if (path / COVERAGE).exists()]
    coverage = [coverage_table(records.read_json(path)) for path in covered]
    tables = (horizon_table, penalty_table, calibration_table, termination_table)
    return [*(table(studies) for table in tables), *coverage]


def selection_tables() -> list[Lines]:
    """Of the guide on choosing offline."""
    policies = candidates([records.read_json(run / SELECTION) for run in runs()])
    curve = bandit_curve(pooled_scores(runs()), Bandit())
    return [score_table(scores(policies)), candidate_table(policies), bandit_table(curve)]


def runs() -> list[Path]:
    return records.find_jobs([RESULTS / "selection"])


@pytest.mark.parametrize(("page", "tables"), [("model_error", model_error_tables), ("selection", selection_tables)])
def test_the_page_prints_what_the_records_say(page: str, tables: object) -> None:
    assert callable(tables)
    text = (ROOT / "docs" / "guide" / f"{page}.md").read_text()
    for table in tables():
        assert markdown(*table) in text
