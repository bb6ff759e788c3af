from collections.abc import Callable
from pathlib import Path

import pytest

from offline_mbrl.results.groups import group_curves
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.query import Curve, read_curves
from offline_mbrl.results.statistics import Estimate
from offline_mbrl.results.verdicts import judge, lay_out_verdicts, obstacles, published_steps, verdicts
from offline_mbrl.storage.records import SUITE, write_json

WriteJob = Callable[..., Path]


def record(mean: str, std: str = "", version: str = "v2", algorithm: str = "mopo") -> dict[str, str]:
    return {
        "algorithm": algorithm,
        "task": "hopper-medium",
        "version": version,
        "mean": mean,
        "std": std,
        "source": "Paper (2020)",
        "protocol": "3 seeds",
    }


@pytest.mark.parametrize(
    ("ours", "mean", "spread", "word"),
    [
        (Estimate(60.0, 55.0, 65.0), 62.0, 3.0, "within"),
        (Estimate(60.0, 58.0, 62.0), 70.0, 3.0, "below"),
        (Estimate(60.0, 50.0, 70.0), 70.0, 3.0, "below (unclear)"),  # our interval meets 67 to 73
        (Estimate(80.0, 79.0, 81.0), 70.0, 3.0, "above"),
        (Estimate(80.0), 70.0, 3.0, "above"),  # one seed has no interval that could reach anything
        (Estimate(73.0), 70.0, 3.0, "within"),
        (Estimate(60.0, 55.0, 65.0), 64.0, None, "within"),
        (Estimate(60.0, 55.0, 65.0), 66.0, None, "below"),
        (Estimate(60.0), 66.0, None, "not comparable: one seed and no published spread"),
    ],
)
def test_a_verdict_by_hand(ours: Estimate, mean: float, spread: float | None, word: str) -> None:
    assert judge(ours, mean, spread) == word


def curve(write_job: WriteJob, **facts: object) -> Curve:
    (one,) = read_curves([write_job("run", {0: [50.0]}, **facts)])
    return one


def test_what_makes_a_score_no_comparison_is_named(write_job: WriteJob) -> None:
    own = curve(write_job, task="hopper-medium-replay", physics="gymnasium-v4", steps=10)
    assert obstacles(own, "v0") == [
        "v0 numbers",
        "own replay data",
        "100,000 of 402,000 rows",
        "gymnasium-v4 physics",
        "10 of 1,000,000 steps",
    ]


def test_official_data_at_the_published_length_are_compared(write_job: WriteJob) -> None:
    official = curve(write_job, source="d4rl-v2", steps=3_000_000, mark="FAILED")
    assert obstacles(official, "v2") == []
    assert obstacles(official, "unclear") == ["numbers on data of version unclear"]


def test_v0_numbers_are_compared_with_v0_data(write_job: WriteJob) -> None:
    assert obstacles(curve(write_job, source="d4rl-v0", steps=3_000_000, mark="FAILED"), "v0") == []


def test_the_shortest_published_run_counts() -> None:
    assert published_steps("mopo", "hopper-medium") == 1_000_000  # of the paper's code; OfflineRL-Kit's are 3 million
    assert published_steps("not-installed", "hopper-medium") is None


def test_rows_carry_the_names_and_scales_of_their_suite(write_job: WriteJob) -> None:
    folder = write_job("run", {0: [50.0], 1: [60.0]}, source="d4rl")
    write_json(folder / SUITE, {"suite": "mopo/penalties", "scale": "small", "variant": "combined variance"})
    groups = group_curves(read_curves([folder]))
    (small,) = verdicts(groups, [record("55", "3", algorithm="combined variance")])
    assert small.cell == ("combined variance", "hopper-medium", "small")
    assert small.word == "not comparable: scale small"
    assert small.difference is not None
    assert small.difference.value == 0.0
    write_json(folder / SUITE, {"suite": "mopo/penalties", "scale": "full", "variant": "combined variance"})
    groups = group_curves(read_curves([folder]))
    block = lay_out_verdicts(verdicts(groups, [record("56", "3", algorithm="combined variance")]), Style())
    assert block.lines[0][:2] == ["combined variance", "hopper-medium"]
    assert block.lines[0][3:5] == ["55.0 ± 7.1 (2)", "56 ± 3 (Paper)"]
    assert block.lines[0][-1] == "within"
    assert "Paper (2020) (D4RL v2; 3 seeds)" in block.caption
    (nothing,) = verdicts(groups, [record("56")])
    assert (nothing.word, nothing.difference) == ("nothing published", None)
