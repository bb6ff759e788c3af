import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.storage.formats import FORMAT
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


@pytest.mark.parametrize("tail", ['{"step": 2, "sc', '{"step": 2}'])
def test_a_torn_last_line_is_passed_over(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text('{"step": 1}\n' + tail)
    assert read_records(path) == [{"step": 1}]


def test_a_line_torn_anywhere_leaves_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    append_records(path, [{"step": 1}])
    first = path.read_bytes()
    append_records(path, [{"step": 2, "score": 0.5}])
    whole = path.read_bytes()
    for length in range(len(first), len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_records(path) == [{"step": 1}]
    path.write_bytes(whole[:-1])  # all but the newline: the checksum says that the line is whole
    assert read_records(path) == [{"step": 1}, {"step": 2, "score": 0.5}]


@pytest.mark.parametrize("text", ['{"step": 1}\n{"st\n{"step": 3}\n', '{"step": 1}\n{"st\n', '{"step": 1}\n{"st\r{}'])
def test_damage_is_an_error_that_names_the_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=r"line 2 of .*scores\.jsonl is damaged"):
        read_records(path, whole=True)


def test_two_writers_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    append_records(path, [{"seed": 0, "step": 5, "variant": "best"}, {"seed": 0, "step": 5, "variant": "grad"}])
    assert len(read_records(path)) == 2
    append_records(path, [{"seed": 0, "step": 5, "variant": "grad"}])
    with pytest.raises(UserError, match=r"line 3 of .* repeats line 2: two processes wrote there"):
        read_records(path)
    with pytest.raises(UserError, match="repeats"):
        truncate_after(path, 5)


def test_a_record_without_its_step_cannot_be_resumed_from(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    append_records(path, [{"seed": 0}])
    with pytest.raises(UserError, match="without its step"):
        truncate_after(path, 5)


@pytest.mark.parametrize(
    "damage",
    [b'{"id": "x"}', b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 1, "crc32": "00000000"}'],
)
def test_json_that_cannot_be_read_is_one_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"job.json is damaged \(.+\); remove its folder") as caught:
        read_json(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_of_a_later_version_is_not_read_and_not_called_damaged(tmp_path: Path) -> None:
    job: dict[str, Any] = {"id": "x", "algorithm": "bc", "task": "t", "source": "builtin", "physics": "p", "seeds": [0]}
    job |= {"steps": 1, "evaluate_every": 1, "episodes": 1, "precision": "default", "config": {}}
    path = tmp_path / "job.json"
    for known in ({}, {"format": FORMAT}):
        write_json(path, job | known)
        assert read_json(path) == job | known
    write_json(path, job | {"format": FORMAT + 1, "seeds": "in a way of its own"})
    message = (
        f"job.json is of format {FORMAT + 1}, and this version of offline-mbrl reads up to {FORMAT}; install a newer"
    )
    with pytest.raises(UserError, match=message):
        read_json(path)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        append_records(Path("/dev/full"), [{"step": 1}])
    assert caught.value.filename == "/dev/full"


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
    assert json.loads(path.read_text()) == {"a": [1, 2], "crc32": "7620b394"}
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


def test_a_folder_that_cannot_be_read_is_an_error_and_one_that_vanished_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.json").write_text("{}")

    def scan(error: type[OSError]) -> Callable[[str], Any]:
        def fail(path: str) -> Any:
            if str(path).endswith("b"):
                raise error(1, "no", str(path))
            return real(path)

        return fail

    real = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scan(FileNotFoundError))
        assert find_jobs([tmp_path]) == [tmp_path / "a"]
        patch.setattr(os, "scandir", scan(PermissionError))
        with pytest.raises(PermissionError):
            find_jobs([tmp_path])
