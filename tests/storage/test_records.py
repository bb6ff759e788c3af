import json
from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.storage.records import append_records, find_jobs, read_json, read_records, truncate_after, write_json


def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    append_records(path, [{"seed": 0, "step": 5, "returns": np.array([1.5, 2.5], np.float32)}])
    append_records(path, [{"seed": np.int64(1), "step": 5, "score": np.float32(0.25)}, {"seed": 2, "step": 5}])
    assert read_records(path) == [
        {"seed": 0, "step": 5, "returns": [1.5, 2.5]},
        {"seed": 1, "step": 5, "score": 0.25},
        {"seed": 2, "step": 5},
    ]
    assert len(path.read_text().splitlines()) == 3


def test_non_finite_numbers_are_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_records(path, [{"step": 1, "loss": np.float32("nan"), "values": np.array([1.0, np.inf])}])
    assert read_records(path) == [{"step": 1, "loss": None, "values": [1.0, None]}]


@pytest.mark.parametrize("tail", ['{"step": 2, "sc', '{"step": 2}', '{"step": 2, "sc\n'])
def test_a_torn_last_line_is_passed_over(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"step": 1}\n' + tail)
    assert read_records(path) == [{"step": 1}]


def test_damage_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"line 2 of .*scores\.jsonl is damaged"):
        read_records(path)


def test_a_resumed_run_leaves_the_file_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    records = [{"seed": seed, "step": step, "score": step / 3} for step in (1, 2, 3, 4) for seed in (0, 1)]
    append_records(whole, records)
    append_records(resumed, records[:5])
    with resumed.open("a") as file:
        file.write('{"seed": 1, "st')

    truncate_after(resumed, 2)
    append_records(resumed, records[4:])

    assert resumed.read_bytes() == whole.read_bytes()
    truncate_after(tmp_path / "absent.jsonl", 2)
    assert not (tmp_path / "absent.jsonl").exists()


def test_json_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    write_json(path, {"a": (1, 2)})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]
    assert read_json(tmp_path / "absent.json", missing=[]) == []
    path.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        read_json(path)


def test_jobs_are_found_once(tmp_path: Path) -> None:
    for name in ("b", "a/inner"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "job.json").write_text("{}")
    assert find_jobs([tmp_path, tmp_path / "a", tmp_path / "b"]) == [tmp_path / "a/inner", tmp_path / "b"]
