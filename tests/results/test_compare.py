import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.compare import Comparison, compare_groups
from offline_mbrl.results.compare_table import compare
from offline_mbrl.results.groups import group_curves
from offline_mbrl.results.query import read_curves

WriteJob = Callable[..., Path]


def comparisons(runs: Path, baseline: str = "bc") -> list[Comparison]:
    return compare_groups(group_curves(read_curves([runs])), baseline)


def test_the_same_seeds_are_paired(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {2: [93.0], 0: [11.0], 1: [52.0]})
    write_job("b", {0: [10.0], 1: [50.0], 2: [90.0]}, algorithm="bc")
    (found,) = comparisons(runs)
    (task,) = found.tasks
    # Differences 1, 2 and 3: 2 +- 4.303 / sqrt(3). Of nine pairs 11, 52 and 93 win 1, 2 and 3.
    assert (task.paired, task.seeds, task.label) == (True, (3, 3), "hopper-medium")
    assert task.difference == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)
    assert task.improvement == pytest.approx(6 / 9)
    assert task.std == 1
    assert found.difference == pytest.approx(task.difference)


@pytest.mark.parametrize("other", [{"seeds": (0, 1, 3)}, {"steps": 20}])
def test_other_seeds_or_other_evaluations_are_not_paired(
    write_job: WriteJob, runs: Path, other: dict[str, object]
) -> None:
    write_job("a", {0: [11.0], 1: [52.0], 2: [93.0]})
    steps = 2 if "steps" in other else 1
    write_job("b", {seed: [50.0] * steps for seed in other.get("seeds", (0, 1, 2))}, algorithm="bc")  # type: ignore[attr-defined]
    assert not comparisons(runs)[0].tasks[0].paired


def make_tasks(write_job: WriteJob, gaps: dict[str, float], seeds: int = 5, spread: float = 1.0) -> None:
    """bc around 40, and mopo above it by the task's gap, not paired."""
    for task, gap in gaps.items():
        write_job(f"b-{task}", {seed: [40.0 + spread * seed] for seed in range(seeds)}, algorithm="bc", task=task)
        ours = {10 + seed: [40.0 + gap + spread * seed] for seed in range(seeds)}
        write_job(f"m-{task}", ours, task=task)


def test_the_conclusion_in_words(write_job: WriteJob, runs: Path) -> None:
    make_tasks(write_job, {"hopper-medium": 2.5, "walker2d-medium": 0.5, "halfcheetah-medium": 30.0})
    (found,) = comparisons(runs)
    first, mean, better, unclear, power = found.sentences
    assert first.startswith("mopo improves on bc with probability 0.83 [0.")
    assert first.endswith("over 3 tasks.")
    assert mean.startswith("Its mean over tasks is 11.0 points higher (95 % interval of the difference [")
    assert better == "It is better on halfcheetah-medium, hopper-medium."
    assert unclear == "5 seeds cannot tell them apart on walker2d-medium."
    assert power.startswith("To tell 5 points apart with 80 % power takes this many seeds of each")
    assert "3 on hopper-medium" in power
    assert "for the mean over tasks" in power


def test_worse_and_undecided_in_words(write_job: WriteJob, runs: Path) -> None:
    make_tasks(write_job, {"hopper-medium": -20.0, "walker2d-medium": -30.0})
    assert comparisons(runs)[0].sentences[0] == (
        "The probability that mopo improves on bc is 0.00 over 2 tasks; these seeds allow no interval."
    )
    assert "It is worse on hopper-medium, walker2d-medium." in comparisons(runs)[0].sentences
    (reverse,) = comparisons(runs, "mopo")
    assert reverse.difference.value == 25


def test_equals_cannot_be_told_apart(write_job: WriteJob, runs: Path) -> None:
    make_tasks(write_job, {"hopper-medium": 0.0, "walker2d-medium": 0.0})
    (found,) = comparisons(runs)
    assert found.sentences[0].startswith(
        "mopo and bc cannot be told apart over 2 tasks: mopo improves with probability 0.50 ["
    )
    assert found.sentences[1].endswith("which may be chance.")
    assert not any(task.told_apart for task in found.tasks)


def test_one_seed_says_nothing(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [60.0]})
    write_job("b", {0: [10.0]}, algorithm="bc")
    (found,) = comparisons(runs)
    assert found.tasks[0].difference == (50.0, None, None)
    assert found.sentences[-2:] == [
        "1 seed cannot tell them apart on hopper-medium.",
        "How many seeds would tell 5 points apart cannot be said: one seed has no spread.",
    ]


def test_lost_seeds_enter_comparisons(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [60.0], 1: []}, diverged=(1,))
    write_job("b", {0: [10.0], 1: [10.0]}, algorithm="bc")
    assert comparisons(runs)[0].difference.value == 20.0
    assert "A diverged or failed seed counts" in compare([runs], "bc")


def test_tables_of_comparisons(write_job: WriteJob, runs: Path) -> None:
    make_tasks(write_job, {"hopper-medium": 10.0, "walker2d-medium": 10.0})
    text = compare([runs], "bc")
    assert "| hopper-medium   | **+10.0 [7.7, 12.3]** |" in text
    assert "| over tasks " in text
    lines = list(csv.DictReader(io.StringIO(compare([runs], "bc", "csv"))))
    assert [line["task"] for line in lines] == ["hopper-medium", "walker2d-medium", "(all tasks)"]
    assert float(lines[2]["difference"]) == 10.0
    assert r"\textbf{+10.0" in compare([runs], "bc", "latex")


def test_a_baseline_that_is_not_one_row_is_named(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]}, config={"x": 1})
    write_job("b", {0: [1.0]}, config={"x": 2})
    with pytest.raises(UserError, match="unknown baseline 'mop'; did you mean"):
        comparisons(runs, "mop")
    with pytest.raises(UserError, match=r"baseline mopo has several rows; name 'mopo \(x=1\)' or 'mopo \(x=2\)'"):
        comparisons(runs, "mopo")
    assert len(comparisons(runs, "mopo (x=1)")) == 1


def test_nothing_to_compare(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]})
    write_job("b", {0: [1.0]}, algorithm="bc", task="walker2d-medium")
    with pytest.raises(UserError, match="nothing to compare with bc: no other row has seeds on the same task and data"):
        comparisons(runs)
