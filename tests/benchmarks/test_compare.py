"""Two files of measurements beside each other, on numbers made by hand."""

import json
from math import nan
from pathlib import Path
from typing import Any

import pytest
from compare import compare, differences, keep, read_report, show, write_report
from throughput import Options, main

from offline_mbrl.errors import UserError

OLD: dict[str, Any] = {
    "about": {"device": "one", "precision": "default"},
    "lines": [
        {"of": "systems", "system": "mopo", "seeds": 1, "updates_per_s": 200.0, "ms": 5.0},
        {"of": "systems", "system": "mopo", "seeds": 4, "updates_per_s": 400.0, "ms": 2.5, "gone": 1.0},
        {"of": "systems", "system": "bc", "seeds": 4, "updates_per_s": 1000.0, "ms": 1.0},
    ],
}
NEW: dict[str, Any] = {
    "about": {"device": "one", "precision": "highest"},
    "lines": [
        {"of": "systems", "seeds": 4, "system": "mopo", "updates_per_s": 600.0, "ms": 2.0, "fresh": 3.0, "note": None},
        {"of": "systems", "seeds": 16, "system": "mopo", "updates_per_s": 900.0, "ms": 1.0},
    ],
}


def test_ratios_are_of_what_both_measured() -> None:
    assert list(compare(OLD, NEW)) == [
        {"of": "systems, 4 seeds, mopo", "quantity": "updates_per_s", "old": 400.0, "new": 600.0, "ratio": 1.5},
        {"of": "systems, 4 seeds, mopo", "quantity": "ms", "old": 2.5, "new": 2.0, "ratio": 0.8},
    ]


def test_what_has_no_ratio_is_left_out() -> None:
    old = {"about": {}, "lines": [{"of": "systems", "a": 0.0, "b": nan, "c": 2.0, "d": 1.0}]}
    new = {"about": {}, "lines": [{"of": "systems", "a": 1.0, "b": 1.0, "c": nan, "d": 3.0}]}
    assert [(line["quantity"], line["ratio"]) for line in compare(old, new)] == [("d", 3.0)]


def test_other_settings_are_named() -> None:
    assert differences(OLD, NEW) == ["precision: default -> highest"]
    assert "differs: precision: default -> highest" in show(OLD, NEW)


def test_two_runs_that_share_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="no measurement in common"):
        show(OLD, {"about": {}, "lines": []})


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_report(tmp_path / "folder" / "old.json", OLD)
    assert read_report(tmp_path / "folder" / "old.json") == OLD


@pytest.mark.parametrize(("text", "words"), [("[]", "holds no measurements"), ("{", "is not JSON")])
def test_other_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UserError, match=words):
        read_report(tmp_path / "file.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*old\.json"):
        read_report(tmp_path / "old.json")


def test_two_files_are_compared_without_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "old.json", tmp_path / "new.json"
    for file, report in zip(files, (OLD, NEW), strict=True):
        file.write_text(json.dumps(report))
    main(Options(compare=files))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["systems,", "4", "seeds,", "mopo", "updates_per_s", "400", "600", "1.500"] in rows


def test_a_run_that_is_stopped_leaves_what_it_knew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = keep(tmp_path / "new.json", NEW["about"], iter(NEW["lines"]))
    assert next(lines) == NEW["lines"][0]
    assert read_report(tmp_path / "new.json") == {"about": NEW["about"], "lines": NEW["lines"][:1]}
    assert "updates_per_s 600" in capsys.readouterr().err
