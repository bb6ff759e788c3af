"""`offline-mbrl robustness` as a user meets it."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run, write_run


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nowhere",), "nowhere is not a folder"),
        (("results", "--points", "1"), "--points 1 is out of range; give a number between 2 and 100"),
        (("results", "--what", "weather"), "invalid choice"),
    ],
)
def test_bad_input_is_one_line(run: Run, args: tuple[str, ...], said: str) -> None:
    ended = run("robustness", *args)
    assert ended.code == 2
    assert said in ended.err.lower()
    assert len(ended.err.strip().splitlines()) == 1


def test_a_run_without_a_policy_is_one_line(run: Run, tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    ended = run("robustness", str(tmp_path))
    assert ended.code == 2
    assert "holds no checkpoint yet; train it first" in ended.err
