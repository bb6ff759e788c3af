import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.published import SHIPPED
from offline_mbrl.results.tables import Options, table

WriteJob = Callable[..., Path]


def cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table without its rule."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|:")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_mean_and_std_over_pooled_seeds(write_job: WriteJob, runs: Path) -> None:
    # Final scores 10, 20 and 60: mean 30, sample std sqrt((400 + 100 + 900) / 2) = 26.46.
    write_job("a", {0: [99.0] * 5 + [10.0] * 10, 1: [99.0] * 5 + [20.0] * 10})
    write_job("b", {2: [99.0] * 5 + [60.0] * 10})
    write_job("c", {0: [5.0] * 15}, algorithm="bc")
    text = table([runs])
    assert cells(text) == [
        ["algorithm", "hopper-medium"],
        ["data", "44.1"],
        ["bc", "5.0"],
        ["mopo", "30.0 ± 26.5"],
    ]
    for fact in (
        "builtin data hopper-medium@100k (100,000 transitions, fingerprint aaaaaaaa), d4rl-v2 physics",
        "150 gradient steps with 1 or 3 seeds",
        "last 10 evaluations × 10 episodes of the deterministic policy",
    ):
        assert fact in text


def test_each_length_of_training_names_its_algorithms(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0] * 200})
    write_job("b", {0: [1.0] * 100}, algorithm="bc")
    write_job("c", {0: [1.0] * 100}, algorithm="iql")
    assert "Trained for 1,000 (bc, iql) or 2,000 (mopo) gradient steps" in table([runs])


def test_fewer_evaluations_are_said(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, 2.0], 1: [3.0, 4.0]})
    text = table([runs])
    assert cells(text)[2] == ["mopo", "2.5 ± 1.4"]
    assert "last 2 evaluations (fewer than 10 were made)" in text


@pytest.mark.parametrize(
    ("other", "heads"),
    [
        ({"source": "d4rl"}, ["hopper-medium (builtin)", "hopper-medium (d4rl)"]),
        ({"physics": "gymnasium-v4"}, ["hopper-medium (d4rl-v2)", "hopper-medium (gymnasium-v4)"]),
        ({"fingerprint": "sha256:bbbbbbbbbbbb"}, ["hopper-medium (aaaaaaaa)", "hopper-medium (bbbbbbbb)"]),
        ({"task": "halfcheetah-random"}, ["halfcheetah-random", "hopper-medium"]),
    ],
)
def test_data_and_physics_never_share_a_column(
    write_job: WriteJob, runs: Path, other: dict[str, str], heads: list[str]
) -> None:
    write_job("a", {0: [1.0], 1: [3.0]})
    write_job("b", {0: [7.0]}, **other, data_score=None)
    head, data, mopo = cells(table([runs]))[:3]
    assert head[1:] == heads
    assert sorted(mopo[1:]) == ["2.0 ± 1.4", "7.0"]
    assert sorted(data[1:]) == ["", "44.1"]


def test_settings_that_differ_get_rows_of_their_own(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]}, config={"penalty": "max", "weight": 1.0})
    write_job("b", {0: [2.0]}, config={"penalty": "individual", "weight": 1.0})
    write_job("c", {0: [3.0]}, config={"penalty": "max", "weight": 5.0}, task="walker2d-medium")
    write_job("d", {0: [4.0, 4.0]}, algorithm="bc")
    write_job("e", {0: [5.0]}, algorithm="bc")
    assert cells(table([runs]))[2:] == [
        ["bc (steps=10)", "5.0", ""],
        ["bc (steps=20)", "4.0", ""],
        ["mopo (penalty=individual)", "2.0", ""],
        ["mopo (penalty=max)", "1.0", "3.0"],
    ]


def test_presets_that_vary_by_task_do_not_split_rows(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]}, config={"weight": 1.0})
    write_job("b", {0: [3.0] * 3}, config={"weight": 5.0}, task="walker2d-medium")
    text = table([runs])
    assert cells(text)[2] == ["mopo", "1.0", "3.0"]
    assert "10 or 30 gradient steps" in text


def test_lost_seeds_count_with_their_last_score(write_job: WriteJob, runs: Path) -> None:
    # 1, 3 and 5 are trained to the end; 90 is what a diverged seed scored last, and one that has no score counts 0.
    write_job("a", {0: [1.0, 1.0], 1: [3.0, 3.0], 2: [5.0, 5.0], 3: [1.0, 91.0], 4: []}, diverged=(3, 4))
    write_job("b", {0: [7.0]}, mark="FAILED", algorithm="bc")
    write_job("c", {0: [9.0]}, mark="", algorithm="iql")
    text = table([runs])
    assert cells(text)[2:] == [
        ["bc", "7.0 (1 failed)"],
        ["iql", "– (1 unfinished)"],
        ["mopo", "20.0 ± 39.7 (2 diverged)"],
    ]
    assert "A diverged or failed seed counts with the last score it had, or 0, the random policy's" in text

    survivors = table([runs], options=Options(diverged="survivors"))
    assert cells(survivors)[2:] == [
        ["bc", "– (1 failed)"],
        ["iql", "– (1 unfinished)"],
        ["mopo", "3.0 ± 2.0 (2 diverged)"],
    ]
    assert "the means are the survivors'" in survivors


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        ({"device": "H100"}, ["device=H100", "device=test CPU"]),
        ({"precision": "high"}, ["precision=default", "precision=high"]),
        ({"version": "0.3.0"}, ["offline-mbrl=0.2.0", "offline-mbrl=0.3.0"]),
        ({"algorithm_version": 2}, ["algorithm_version=1", "algorithm_version=2"]),
        ({"commit": None}, ["commit=0123456789ab", "commit=unknown"]),
    ],
)
def test_seeds_made_otherwise_are_pooled_only_on_request_and_the_caption_says_so(
    write_job: WriteJob, runs: Path, other: dict[str, object], labels: list[str]
) -> None:
    write_job("a", {0: [1.0], 1: [3.0]})
    write_job("b", {1: [9.0], 2: [5.0]}, **other)
    text = table([runs])
    assert [line[0] for line in cells(text)[2:]] == [f"mopo ({label})" for label in labels]
    pooled = table([runs], options=Options(pool=True))
    assert cells(pooled)[2:] == [["mopo", "3.0 ± 2.0"]]  # of 1, 3 and 5: seed 1 counts once
    name, _, value = labels[0].partition("=")
    assert f"Pooled as asked over seeds that differ in {name} (" in pooled
    assert value in pooled
    assert "Pooled" not in text


def test_a_row_whose_cells_were_made_otherwise_is_said(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]})
    write_job("b", {0: [1.0]}, task="walker2d-medium", device="H100")
    assert "Cells differ in device: compare them with care." in table([runs])


def test_versions_of_two_algorithms_do_not_differ_but_those_of_one_do(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]})
    write_job("b", {0: [1.0]}, algorithm="combo", algorithm_version=2)
    assert "Cells differ" not in table([runs])
    write_job("c", {0: [1.0]}, task="walker2d-medium", algorithm_version=2)
    assert "Cells differ in algorithm_version: compare them with care." in table([runs])


def test_the_share_of_training_behind_a_score_is_said(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0] * 40})
    write_job("b", {0: [1.0] * 5}, algorithm="bc")
    assert "which span 25 % or 100 % of training" in table([runs])


def test_data_of_unknown_origin_say_so(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]}, source="d4rl", data_source="d4rl-unofficial", data_physics="unknown")
    assert (
        "d4rl-unofficial data hopper-medium@100k (100,000 transitions, fingerprint aaaaaaaa), made under unknown"
        in (table([runs]))
    )
    write_job("b", {0: [1.0]}, source="d4rl", data_source="d4rl-v2")
    assert cells(table([runs]))[0][1:] == ["hopper-medium (d4rl-unofficial)", "hopper-medium (d4rl-v2)"]


def test_the_best_and_what_is_not_told_from_it_are_bold(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [50.0], 1: [52.0], 2: [54.0]})
    write_job("b", {0: [49.0], 1: [51.0], 2: [53.0]}, algorithm="cql")
    write_job("c", {0: [10.0], 1: [12.0], 2: [14.0]}, algorithm="bc")
    write_job("d", {0: [51.9]}, algorithm="iql")
    text = table([runs])
    assert [line[1] for line in cells(text)[2:]] == ["12.0 ± 2.0", "**51.0 ± 2.0**", "51.9", "**52.0 ± 2.0**"]
    assert r"\textbf{52.0 $\pm$ 2.0}" in table([runs], "latex")
    assert "<strong>52.0 ± 2.0</strong>" in table([runs], "html")
    assert [record["best"] for record in records(table([runs], "csv"))] == ["", "0", "1", "0", "1"]


def grid(write_job: WriteJob, scores: dict[str, tuple[float, float]]) -> None:
    """Five seeds, one point apart, of each algorithm on two tasks, around `scores`."""
    for algorithm, means in scores.items():
        for task, mean in zip(("hopper-medium", "walker2d-medium"), means, strict=True):
            seeds = {seed: [mean - 2 + seed] for seed in range(5)}
            write_job(f"{algorithm}-{task}", seeds, algorithm=algorithm, task=task)


def test_aggregates_and_ranks_follow_below(write_job: WriteJob, runs: Path) -> None:
    grid(write_job, {"bc": (20.0, 60.0), "mopo": (50.0, 30.0), "iql": (10.0, 10.0)})
    write_job("more", {0: [1.0]}, algorithm="bc", task="halfcheetah-medium")
    text = table([runs])
    head, *lines = cells(text)[5:]
    assert head == ["over tasks", "mean", "median", "IQM", "optimality gap", "mean rank"]
    assert [line[0] for line in lines] == ["bc", "iql", "mopo"]
    assert [line[1].split()[0] for line in lines] == ["40.0", "10.0", "40.0"]
    assert [line[-1] for line in lines] == ["1.5", "3.0", "1.5"]
    assert lines[0][4].startswith("60.0 [")
    assert "Over the 2 columns (without halfcheetah-medium, where some row has none) that all rows have." in text


def test_one_task_needs_no_aggregates(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]})
    assert "over tasks" not in table([runs])
    write_job("b", {0: [1.0]}, algorithm="bc", task="walker2d-medium")
    assert "No aggregates: fewer than two tasks have seeds of every row" in table([runs])


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("name", ["bc", "iql", "mopo"]),
        ("mean", ["mopo", "bc", "iql"]),
        ("gap", ["mopo", "bc", "iql"]),
        ("rank", ["bc", "mopo", "iql"]),
        ("walker2d-medium", ["bc", "mopo", "iql"]),
    ],
)
def test_rows_are_sorted(write_job: WriteJob, runs: Path, by: str, order: list[str]) -> None:
    grid(write_job, {"bc": (20.0, 60.0), "mopo": (55.0, 30.0), "iql": (10.0, 10.0)})
    rows = [line[0] for line in cells(table([runs], options=Options(sort=by)))[2:5]]
    assert rows == order
    with pytest.raises(UserError, match="unknown order 'meen'; did you mean 'mean'"):
        table([runs], options=Options(sort="meen"))


def test_rows_and_tasks_are_chosen(write_job: WriteJob, runs: Path) -> None:
    grid(write_job, {"bc": (20.0, 60.0), "mopo": (50.0, 30.0), "td3_bc": (10.0, 10.0)})
    chosen = cells(table([runs], options=Options(only=("*bc", "walker*"), digits=2)))
    assert [line[0] for line in chosen[2:]] == ["bc", "td3_bc"]
    assert chosen[0][1:] == ["walker2d-medium"]
    assert chosen[3][1] == "10.00 ± 1.58"
    with pytest.raises(UserError, match="unknown algorithm or task 'mop'; did you mean 'mopo'"):
        table([runs], options=Options(only=("mop",)))


def test_ours_minus_published(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [63.8], 1: [65.8]})
    text = table([runs], published=SHIPPED)
    # Mean 64.8 against 62.8; the t-interval of two seeds reaches 12.706 standard errors of 1.
    assert ["mopo − OfflineRL-Kit README", "+2.0 [-10.7, 14.7]"] in cells(text)
    assert ["mopo (OfflineRL-Kit README)", "62.8 ± 38.1"] in cells(text)
    assert not any(line[0].startswith("cql") for line in cells(text))
    theirs = {record["published_by"]: record["published"] for record in records(table([runs], "csv", SHIPPED))}
    assert theirs["mopo (OfflineRL-Kit README)"] == "62.8"


def test_html_is_escaped_and_has_its_caption(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0]}, config={"net": "<b>"})
    write_job("b", {0: [1.0]}, config={"net": "x"})
    text = table([runs], "html")
    assert "mopo (net=&lt;b&gt;)" in text
    assert text.count("<caption>Normalized score") == 1
    assert "<b>" not in text


def test_csv_has_full_precision(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0], 1: [2.0], 2: [1 / 3], 3: [0.0]}, diverged=(3,))
    data, mopo = records(table([runs], "csv", options=Options(diverged="survivors")))
    assert (data["algorithm"], data["mean"], data["seeds"]) == ("data", "44.1", "")
    assert float(mopo["mean"]) == pytest.approx(10 / 9, rel=1e-15)
    assert float(mopo["std"]) == pytest.approx(0.8388704928078611, rel=1e-14)
    reach = 4.302652729911275 * 0.8388704928078611 / 3**0.5
    assert float(mopo["ci_low"]) == pytest.approx(10 / 9 - reach, rel=1e-9)
    assert float(mopo["ci_high"]) == pytest.approx(10 / 9 + reach, rel=1e-9)
    expected = {
        "task": "hopper-medium",
        "source": "builtin",
        "physics": "d4rl-v2",
        "fingerprint": "sha256:aaaaaaaaaaaa",
    }
    expected |= {"steps": "10", "seeds": "3", "diverged": "1", "unfinished": "0", "evaluations": "1", "episodes": "10"}
    assert {name: mopo[name] for name in expected} == expected


def test_latex_is_booktabs_with_escaped_text(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0], 1: [3.0]}, algorithm="td3_bc")
    text = table([runs], "latex")
    assert r"\toprule" in text
    assert r"td3\_bc" in text
    assert r"2.0 $\pm$ 1.4" in text
    assert text.count(r"\caption{") == 1
    assert text.isascii()


def test_an_unknown_format_suggests_one(runs: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'latex'"):
        table([runs], "latx")  # type: ignore[arg-type]
