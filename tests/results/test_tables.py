import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.tables import table

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
    head, data, mopo = cells(table([runs]))
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
    assert cells(text)[2:] == [["mopo", "1.0", "3.0"]]
    assert "10 or 30 gradient steps" in text


def test_missing_seeds_are_marked_and_left_out(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0], 1: [3.0], 2: [5.0], 3: [900.0]}, diverged=(3,))
    write_job("b", {0: [9.0]}, mark="", algorithm="bc")
    text = table([runs])
    assert cells(text)[2:] == [["bc", "– †"], ["mopo", "3.0 ± 2.0 ‡"]]
    assert "† 0 of 1 seeds; 1 unfinished. ‡ 3 of 4 seeds; 1 diverged." in text


def test_csv_has_full_precision(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0], 1: [2.0], 2: [1 / 3], 3: [0.0]}, diverged=(3,))
    data, mopo = records(table([runs], "csv"))
    assert (data["algorithm"], data["mean"], data["seeds"]) == ("data", "44.1", "")
    assert float(mopo["mean"]) == pytest.approx(10 / 9, rel=1e-15)
    assert float(mopo["std"]) == pytest.approx(0.8388704928078611, rel=1e-14)
    assert 1 / 3 <= float(mopo["ci_low"]) < 10 / 9 < float(mopo["ci_high"]) <= 2.0
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
    write_job("b", {0: [1.0], 1: [3.0]}, diverged=(1,))
    text = table([runs], "latex")
    assert r"\toprule" in text
    assert r"td3\_bc" in text
    assert r"2.0 $\pm$ 1.4" in text
    assert r"1.0 $^\dagger$" in text
    assert text.count(r"\caption{") == 1
    assert text.isascii()


def test_an_unknown_format_suggests_one(runs: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'latex'"):
        table([runs], "latx")  # type: ignore[arg-type]
