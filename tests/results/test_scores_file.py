import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.evaluation_rows import FIELDS, schema
from offline_mbrl.results.query import Curve, read_curves
from offline_mbrl.results.scores_file import export_scores, import_scores
from offline_mbrl.results.tables import table

WriteJob = Callable[..., Path]


def write_some(write_job: WriteJob) -> None:
    """A job of each kind of ending, with settings, unusual numbers, and data of unknown origin."""
    write_job("a", {0: [1 / 3, 2.0], 1: [-3.0, 1e-17]}, config={"net": {"hidden": [256, 256]}, "x": 1.5}, commit=None)
    write_job("b", {2: [1.0, 91.25], 3: [], 4: [5.0, 6.0, 7.0]}, diverged=(2, 3), device='H100, "big"')
    write_job("c", {0: [9.0]}, mark="", steps=50, algorithm="bc", data_score=None, data_physics="unknown")
    write_job("d", {0: [9.0], 1: []}, mark="FAILED", steps=50, algorithm="iql", precision="high")


def in_order(curves: list[Curve]) -> list[Curve]:
    return sorted(curves, key=lambda curve: (curve.algorithm, curve.seed, curve.status))


@pytest.mark.parametrize("name", ["scores.parquet", "scores.csv", "sc*res [1].parquet"])
def test_a_round_trip_loses_nothing(write_job: WriteJob, runs: Path, tmp_path: Path, name: str) -> None:
    write_some(write_job)
    path = export_scores([runs], tmp_path / name)
    assert import_scores(path, tmp_path / "imported") == (8, 8)
    assert in_order(read_curves([tmp_path / "imported"])) == in_order(read_curves([runs]))
    assert table([tmp_path / "imported"]) == table([runs])
    again = export_scores([tmp_path / "imported"], tmp_path / "again.csv")
    assert sorted(again.read_text().splitlines()) == sorted(
        export_scores([runs], tmp_path / "x.csv").read_text().splitlines()
    )


def test_results_of_groups_are_pooled_in_one_folder(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    ours = write_job("ours", {0: [1.0], 1: [2.0]})
    theirs = write_job("theirs", {2: [3.0], 3: [4.0]})
    for folder in (ours, theirs, ours):
        import_scores(export_scores([folder], tmp_path / "scores.parquet"), tmp_path / "pooled")
    assert "2.5 ± 1.3" in table([tmp_path / "pooled"])


def test_one_line_of_duckdb_reads_it(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    write_job("a", {0: [1.0, 2.0], 1: [3.0, 4.0]})
    path = export_scores([runs], tmp_path / "scores.parquet")
    found = duckdb.execute(f"select seed, max(score) from '{path}' group by seed order by seed").fetchall()
    assert found == [(0, 2.0), (1, 4.0)]
    assert duckdb.read_parquet(str(path)).columns == list(FIELDS)


def test_every_column_is_documented() -> None:
    properties = json.loads(schema())["properties"]
    assert list(properties) == list(FIELDS)
    assert all(entry["description"] for entry in properties.values())


def changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("algorithm,", "algorithms,", "has no column 'algorithm'"),
        ("finished,", "done,", "status"),
        ("10,1.0", "10,nan", "score"),
        ("10,1.0", "10,one", "score"),
        ("10,1.0", "20,1.0", "seed 0 of mopo on hopper-medium .* has a step twice"),
        ("10,1.0", "10,", "or a step without a score"),
        ("20,2.0", "30,2.0", "is finished, yet evaluations are missing"),
        ("mopo,", "../../mopo,", "algorithm"),
        ("{}", "[]", "settings that are no JSON object"),
        ("{}", "{", "settings that are not JSON"),
    ],
)
def test_an_unsound_file_is_named_and_nothing_is_written(
    write_job: WriteJob, runs: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    write_job("a", {0: [1.0, 2.0]})
    path = changed(export_scores([runs], tmp_path / "scores.csv"), old, new)
    with pytest.raises(UserError, match=message) as caught:
        import_scores(path, tmp_path / "imported")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "imported").exists()


def test_files_that_are_no_scores(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    write_job("a", {0: [1.0]})
    with pytest.raises(UserError, match=r"kept as .parquet or .csv, not as '.xlsx'"):
        export_scores([runs], tmp_path / "scores.xlsx")
    with pytest.raises(UserError, match=r"cannot read .*absent.csv: no such file"):
        import_scores(tmp_path / "absent.csv", tmp_path)
    for name, content in {"a.parquet": b"nonsense", "b.csv": b"\xff\xfe\x00", "c.csv": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"is no export of scores|has no column|holds no row"):
            import_scores(tmp_path / name, tmp_path / "imported")
