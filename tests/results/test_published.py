from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.published import SHIPPED, find_published, lay_out_published, read, select
from offline_mbrl.tasks import TASKS

HEAD = "algorithm,task,version,mean,std,source,protocol\n"


def test_only_the_version_and_tasks_asked_for_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        HEAD
        + 'mopo,hopper-medium,v2,62.8,38.1,"Kit README (commit 1)",4 seeds\n'
        + 'mopo,hopper-medium,v0,28.0,,"Paper",3 seeds\n'
        + 'mopo,walker2d-medium,v2,84.1,3.2,"Kit README (commit 1)",4 seeds\n'
        + 'combo,hopper-medium,v2,97.2,,"COMBO, NeurIPS",not stated\n'
    )
    records = select(read(path), {"mopo", "combo"}, ["hopper-medium"], "v2")
    block = lay_out_published(records, ["hopper-medium"], "v2")
    assert block.head == ["published", "hopper-medium"]
    assert block.lines == [["combo (COMBO)", "97.2"], ["mopo (Kit README)", "62.8 ± 38.1"]]
    assert "D4RL v2" in block.caption
    assert "Kit README (commit 1): 4 seeds" in block.caption


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has not the columns algorithm"):
        read(tmp_path / "scores.csv")
    with pytest.raises(UserError, match=r"cannot read .*absent.csv: no such file"):
        read(tmp_path / "absent.csv")


def test_the_shipped_numbers_are_sound() -> None:
    records = [record for record in read(SHIPPED) if record["version"] == "v2"]
    block = lay_out_published(records, list(TASKS), "v2")
    cells = {(line[0], task): cell for line in block.lines for task, cell in zip(block.head[1:], line[1:], strict=True)}
    assert cells["mopo (OfflineRL-Kit README)", "hopper-medium"] == "62.8 ± 38.1"
    assert cells["combo (OfflineRL-Kit README)", "walker2d-medium-expert"] == "110.0 ± 0.2"
    assert all(any(line[1:]) for line in block.lines)
    filled = [cell for line in block.lines for cell in line[1:] if cell]
    assert len(filled) == len(records)  # no row hides another


def test_variants_of_one_source_get_lines_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        HEAD
        + "mopo,hopper-medium,v2,1,,Kit (commit 1),last\n"
        + "mopo,hopper-medium,v2,2,,Kit (commit 2),last\n"
        + "mopo,hopper-medium,v2,3,,Kit (commit 2),best\n"
        + "cql,hopper-medium,v2,4,,Kit (commit 1),last\n"
    )
    assert lay_out_published(read(path), ["hopper-medium"], "v2").lines == [
        ["cql (Kit)", "4"],
        ["mopo (Kit (commit 1))", "1"],
        ["mopo (Kit (commit 2); best)", "3"],
        ["mopo (Kit (commit 2); last)", "2"],
    ]
    with path.open("a") as file:
        file.write("mopo,hopper-medium,v2,5,,Kit (commit 2),best\n")
    with pytest.raises(UserError, match=r"line 6 of .*scores.csv repeats line 4"):
        read(path)


def test_names_of_files() -> None:
    assert find_published("builtin") == SHIPPED
    assert find_published("none") is find_published(None) is None
    assert find_published("x/y.csv") == Path("x/y.csv")
