from collections.abc import Callable
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.query import Column, flat, read_curves

WriteJob = Callable[..., Path]


def test_a_curve_per_seed_in_order_of_steps(write_job: WriteJob, runs: Path) -> None:
    folder = write_job("a", {0: [1.0, 2.0], 1: [3.0, 4.0]}, config={"dynamics": {"layers": 4}, "penalty": 2.5})
    lines = (folder / "scores.jsonl").read_text().splitlines(keepends=True)
    (folder / "scores.jsonl").write_text("".join(reversed(lines)))

    first, second = read_curves([runs])

    assert (first.seed, first.at, first.scores) == (0, [10, 20], [1.0, 2.0])
    assert (second.seed, second.at, second.scores) == (1, [10, 20], [3.0, 4.0])
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
    write_job("b", {0: [1.0, 1.0]})
    write_job("c", {0: [5.0, 5.0]}, config={"penalty": 1.0})
    assert sorted(curve.scores[0] for curve in read_curves([runs, runs])) == [1.0, 5.0]


def test_nothing_to_read(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        read_curves([tmp_path / "absent"])
    with pytest.raises(UserError, match="no job under"):
        read_curves([tmp_path])
    (write_job("a", {0: []}, mark="") / "scores.jsonl").unlink()
    with pytest.raises(UserError, match="evaluated yet"):
        read_curves([runs])
    (runs / "a" / "environment.json").unlink()
    with pytest.raises(UserError, match="has started"):
        read_curves([runs])


@pytest.mark.parametrize("name", ["score=99", "seed=7", "task=bc/steps=1", "a*", "sel[12]", "what?", "{x}", "ä b"])
def test_a_folders_name_says_nothing_about_its_scores(write_job: WriteJob, runs: Path, name: str) -> None:
    write_job(name, {0: [1.0], 1: [2.0]})
    write_job("ab", {0: [5.0]}, algorithm="bc")
    write_job("sel1", {0: [6.0]}, algorithm="iql")
    write_job("seed=1", {0: [7.0]}, algorithm="cql")
    found = {(curve.algorithm, curve.seed): curve.scores for curve in read_curves([runs])}
    assert found == {("mopo", 0): [1.0], ("mopo", 1): [2.0], ("bc", 0): [5.0], ("iql", 0): [6.0], ("cql", 0): [7.0]}


@pytest.mark.parametrize("file", ["job.json", "environment.json", "diverged.json"])
@pytest.mark.parametrize(
    "content", ['{"algorithm": "mo', "", "{}", "[]", "[1]", "1", "null", "[{}]", '{"seeds": 1}', "\xff"]
)
def test_a_malformed_file_is_named_though_sound_jobs_stand_beside_it(
    write_job: WriteJob, runs: Path, file: str, content: str
) -> None:
    write_job("sound", {0: [1.0]}, algorithm="bc")
    folder = write_job("a", {0: [1.0]})
    (folder / file).write_bytes(content.encode("latin-1"))
    if (file, content) == ("diverged.json", "[]"):
        assert len(read_curves([runs])) == 2
        return
    with pytest.raises(UserError, match=rf"{folder / file} is damaged \(.+\); remove its folder") as caught:
        read_curves([runs])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[0][:20], *lines[1:]], "line 1 of .* is damaged"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], "line 4 of .* is damaged"),
        (lambda lines: [*lines, lines[1]], r"line 5 of .* is damaged \(it repeats line 2: two processes wrote there"),
        (lambda lines: lines[:-1], "the job is done, yet evaluations of seed 1 are missing"),
        (lambda lines: [lines[0], *lines[2:]], "the job is done, yet evaluations of seed 0 are missing"),
        (lambda lines: [*lines[:2], "", *lines[2:]], "line 3 of .* is damaged"),
        (
            lambda lines: [*lines, '{"seed": 7, "step": 10, "score": 1.0}'],
            r"line 5 of .* is damaged \(no score of a seed",
        ),
        (
            lambda lines: [*lines, '{"seed": 0, "step": 30, "score": "x"}'],
            r"line 5 of .* is damaged \(no score of a seed",
        ),
        (
            lambda lines: [*lines, '{"seed": 0, "step": 30}'],
            r"line 5 of .* is damaged \(no score of a seed",
        ),
        (lambda lines: [*lines, "[1]"], "line 5 of .* is damaged"),
    ],
)
def test_damage_in_the_scores_of_a_finished_job_is_named(
    write_job: WriteJob, runs: Path, change: Callable[[list[str]], list[str]], message: str
) -> None:
    path = write_job("a", {0: [1.0, 2.0], 1: [3.0, 4.0]}) / "scores.jsonl"
    path.write_text("".join(line + "\n" for line in change(path.read_text().splitlines())))
    with pytest.raises(UserError, match=message):
        read_curves([runs])


def test_a_score_that_was_not_finite_marks_its_seed(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, None], 1: [3.0, 4.0]})
    assert [(curve.status, curve.scores) for curve in read_curves([runs])] == [
        ("diverged", [1.0]),
        ("finished", [3.0, 4.0]),
    ]


def test_a_job_that_has_not_started_is_named(
    write_job: WriteJob, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_job("sound", {0: [1.0]})
    (write_job("late", {1: []}, mark="") / "environment.json").unlink()
    assert len(read_curves([runs])) == 1
    assert capsys.readouterr().err == "warning: 1 job without data and scores yet: late\n"


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}
