from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.published import lay_out_published
from offline_mbrl.tasks import TASKS

SHIPPED = Path(__file__).parents[2] / "benchmarks" / "published_scores.csv"
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
    block = lay_out_published(path, ["hopper-medium"])
    assert block.head == ["published", "hopper-medium"]
    assert block.lines == [["combo (COMBO)", "97.2"], ["mopo (Kit README)", "62.8 ± 38.1"]]
    assert "D4RL v2" in block.caption
    assert "Kit README (commit 1): 4 seeds" in block.caption


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has not the columns algorithm"):
        lay_out_published(tmp_path / "scores.csv", ["hopper-medium"])
    with pytest.raises(UserError, match=r"cannot read .*absent.csv: no such file"):
        lay_out_published(tmp_path / "absent.csv", ["hopper-medium"])


def test_the_shipped_numbers_are_sound() -> None:
    block = lay_out_published(SHIPPED, TASKS)
    cells = {(line[0], task): cell for line in block.lines for task, cell in zip(block.head[1:], line[1:], strict=True)}
    assert cells["mopo (OfflineRL-Kit README)", "hopper-medium"] == "62.8 ± 38.1"
    assert cells["combo (OfflineRL-Kit README)", "walker2d-medium-expert"] == "110.0 ± 0.2"
    assert all(any(line[1:]) for line in block.lines)
