"""`offline-mbrl data ...`: what a user may mistype or hand over is one line that says what to do."""

from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.cli.app import main


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OFFLINE_MBRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "d4rl"))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["offline-mbrl", "data", *words])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stats hopper-medium --size 0", "a data set of 0 rows cannot be made; ask for 1 to 20,000,000"),
        ("stats hopper-medium --source synthetic --size -1", "a data set of -1 rows cannot be made"),
        ("build hopper-medium --size 99999999999999", "a data set of 99999999999999 rows cannot be made"),
        ("export hopper-medium own/x-v0 --source synthetic --size 0", "a data set of 0 rows cannot be made"),
        ("card hopper --rows 0", "a data set of 0 rows cannot be made"),
        ("card hoper", "did you mean 'hopper'?"),
        ("stats hopper-medium-v1", "--source d4rl-v1"),
        ("stats hopper-medium --source policy", "--source policy:FILE"),
        ("stats hopper-medium --source policy:gone.npz", "there is no file gone.npz"),
        ("stats hopper-medium --source policy:text", "cannot read text as HDF5"),
        ("stats hopper-medium --source d4rl:text", "cannot read text as HDF5"),
        ("stats hopper-medium --source d4rl:.", "there is no file"),
        ("import text", "is none of the official D4RL files"),
        ("extract-policy text out.npz", "cannot read text as HDF5"),
        ("extract-policy text out.txt", "name it out.npz"),
        ("collect hopper --seed -1", "a seed from 0 to 2147483647"),
        ("collect hopper --epochs 0", "at least 1 epoch"),
        ("collect hopper --batch-size 0", "sac.batch_size=0"),
        ("collect hopper --batch-size 1000000000000", "more than the 1000000 that are kept"),
        ("pack hopper run out", "is no snapshot, whose name would be its steps"),
        ("pack hopper gone out --medium 0", "holds 0 policy snapshots"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no HDF5")
    (tmp_path / "run" / "snapshots").mkdir(parents=True)
    (tmp_path / "run" / "snapshots" / "junk.npz").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    assert run(monkeypatch, *words.split()) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not out
    assert sorted(tmp_path.rglob("*")) == before


def test_the_policy_of_an_official_file_is_taken_out(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "extract-policy", str(shared / "d4rl" / "hopper_medium-v2.hdf5"), "out.npz") == 0
    assert capsys.readouterr().out == "out.npz\n"
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["fc0/weight"].shape == (256, 11)


@pytest.mark.medium
def test_any_size_is_made_from_a_policy_under_d4rls_name_of_the_task(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"policy:{shared / 'd4rl' / 'hopper_medium-v2.hdf5'}"
    assert run(monkeypatch, "stats", "Hopper_Medium-v2", "--source", source, "--size", "300") == 0
    assert "(source policy, physics d4rl-v2)" in capsys.readouterr().out


@pytest.mark.medium
def test_a_card_is_printed_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "card", "hopper", "--rows", "300") == 0
    text = capsys.readouterr().out
    assert text.startswith("# Builtin data of hopper\n")
    assert run(monkeypatch, "card", "hopper", "--rows", "300", "--out", "card.md") == 0
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == text
