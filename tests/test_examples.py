"""The scripts of examples/ run as they are, and what they print is what they say."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.registry import unregister

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OFFLINE_MBRL_CACHE", str(tmp_path / "cache"))
    yield
    unregister("weighted_bc")


def run(name: str) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.medium
@pytest.mark.usefixtures("_own_folder")
def test_quickstart_scores_every_seed_and_draws_their_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("quickstart.py")
    printed = capsys.readouterr().out
    assert [f"seed {seed}: " in printed for seed in range(4)] == [True] * 4
    assert (tmp_path / "quickstart.png").stat().st_size > 0


@pytest.mark.medium
@pytest.mark.usefixtures("_own_folder")
def test_a_system_from_outside_the_package_trains_beside_one_from_within(capsys: pytest.CaptureFixture[str]) -> None:
    run("new_system.py")
    lines = capsys.readouterr().out.splitlines()
    scores = {line.split(": ")[0]: float(line.split(": ")[1]) for line in lines if "bc: " in line}
    assert scores.keys() == {"bc", "weighted_bc"}
    assert all(np.isfinite(score) for score in scores.values())


def test_rows_of_better_episodes_weigh_more() -> None:
    example = runpy.run_path(str(EXAMPLES / "new_system.py"))
    weight = example["row_weights"](jnp.array([0.0, 2.0, 0.0, 2.0]), 0.5)  # returns one deviation from their mean, 1
    np.testing.assert_allclose(weight, [np.exp(-4), 1, np.exp(-4), 1], rtol=1e-5)


def test_the_error_of_a_row_counts_by_its_weight() -> None:
    example = runpy.run_path(str(EXAMPLES / "new_system.py"))
    error = example["weighted_error"](jnp.zeros((2, 2)), jnp.array([[1.0, 1.0], [0.0, 2.0]]), jnp.array([1.0, 3.0]))
    assert float(error) == pytest.approx((1 * 1 + 3 * 2) / 4)
