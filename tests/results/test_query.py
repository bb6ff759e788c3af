from collections.abc import Callable
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.query import Column, flat, read_curves

WriteJob = Callable[..., Path]


def test_a_curve_per_seed_in_order_of_steps(write_job: WriteJob, runs: Path) -> None:
    folder = write_job("a", {0: [1.0, 2.0], 1: [3.0]}, config={"dynamics": {"layers": 4}, "penalty": 2.5})
    lines = (folder / "scores.jsonl").read_text().splitlines(keepends=True)
    (folder / "scores.jsonl").write_text("".join(reversed(lines)))

    first, second = read_curves([runs])

    assert (first.seed, first.at, first.scores) == (0, [10, 20], [1.0, 2.0])
    assert (second.seed, second.at, second.scores) == (1, [10], [3.0])
    assert first.column == Column("hopper-medium", "builtin", "d4rl-v2", "sha256:aaaaaaaaaaaa")
    assert first.settings["dynamics.layers"] == 4
    assert first.settings["penalty"] == 2.5
    assert (first.dataset.rows, first.dataset.score_mean) == (100_000, 44.1)
    assert first.status == "finished"


def test_a_torn_last_line_is_passed_over(write_job: WriteJob, runs: Path) -> None:
    folder = write_job("a", {0: [1.0, 2.0]}, mark="")
    with (folder / "scores.jsonl").open("a") as file:
        file.write('{"seed": 0, "step": 30, "retur')

    (curve,) = read_curves([runs])

    assert curve.scores == [1.0, 2.0]
    assert curve.status == "unfinished"


def test_status_of_each_seed(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0], 1: [1.0]}, diverged=(1,))
    write_job("b", {2: [1.0]}, mark="FAILED")
    write_job("c", {3: []}, mark="")
    assert {curve.seed: curve.status for curve in read_curves([runs])} == {
        0: "finished",
        1: "diverged",
        2: "failed",
        3: "unfinished",
    }


def test_a_repeated_seed_counts_once_and_the_finished_run_wins(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [9.0, 9.0]}, mark="")
    write_job("b", {0: [1.0]})
    write_job("c", {0: [5.0]}, config={"penalty": 1.0})
    assert sorted(curve.scores[0] for curve in read_curves([runs, runs])) == [1.0, 5.0]


def test_nothing_to_read(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        read_curves([tmp_path / "absent"])
    with pytest.raises(UserError, match="no job under"):
        read_curves([tmp_path])
    (write_job("a", {0: []}) / "scores.jsonl").unlink()
    with pytest.raises(UserError, match="evaluated yet"):
        read_curves([runs])
    (runs / "a" / "environment.json").unlink()
    with pytest.raises(UserError, match="has started"):
        read_curves([runs])


def test_a_damaged_job_is_one_clear_line(write_job: WriteJob, runs: Path) -> None:
    (write_job("a", {0: [1.0]}) / "job.json").write_text('{"algorithm": "mo')
    with pytest.raises(UserError, match="damaged"):
        read_curves([runs])


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}
