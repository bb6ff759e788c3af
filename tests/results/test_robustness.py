"""Robustness records as tables and figures, numbers by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.layout import as_markdown
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.robustness.figures import draw_all
from offline_mbrl.results.robustness.gather import RELEASED, gather_robustness
from offline_mbrl.results.robustness.summary import area, at_named_epsilon, heat, summaries
from offline_mbrl.results.robustness.tables import robustness_tables
from offline_mbrl.results.robustness.write import write_tables
from offline_mbrl.robustness.study import ROBUSTNESS
from offline_mbrl.storage.records import append_records

WriteJob = Callable[..., Path]


def record(seed: int, kind: str, score: float, step: int = 10, note: str = "", **values: float) -> dict[str, object]:
    variant = " ".join([kind, *(f"{name}={value}" for name, value in values.items()), "episodes=2", note]).strip()
    returns = [score, score]
    return {"seed": seed, "step": step, "variant": variant, "kind": kind, **values, "returns": returns, "score": score}


def grid_of(seed: int, scores: dict[tuple[float, float], float], note: str = "") -> list[dict[str, object]]:
    return [record(seed, "grid", score, note=note, friction=f, gravity=g) for (f, g), score in scores.items()]


@pytest.fixture
def two_systems(write_job: WriteJob) -> list[Path]:
    """A mopo of two seeds with everything, and a bc of one seed without critics."""
    mopo = write_job("a", {0: [50.0], 1: [60.0]})
    bc = write_job("b", {0: [30.0]}, algorithm="bc")
    lines = [record(seed, "clean", 50.0 + 10 * seed) for seed in (0, 1)]
    for seed in (0, 1):
        lines += grid_of(seed, {(0.5, 0.5): 10.0, (0.5, 5.0): 20.0, (1.5, 0.5): 30.0, (1.5, 5.0): 40.0 + 10 * seed})
        lines += [record(seed, "min_q", score, epsilon=e) for e, score in ((0.0, 50.0), (0.1, 30.0), (0.2, 0.0))]
        lines += [record(seed, "noise", 45.0)]
    append_records(mopo / ROBUSTNESS, lines)
    append_records(bc / ROBUSTNESS, [record(0, "clean", 30.0), record(0, "random", 20.0, epsilon=0.1)])
    return [mopo, bc]


def cells(table: str, row: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {row} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_an_area_is_the_mean_height_of_its_trapezoids() -> None:
    """Widths 1 and 3, mean heights 5 and 15 (and 1): (5 + 45) / 4 and 1."""
    scores = np.array([[0.0, 1.0], [10.0, 1.0], [20.0, 1.0]])
    np.testing.assert_allclose(area([0.0, 1.0, 4.0], scores), [12.5, 1.0])


def test_a_grid_is_summed_up_by_its_mean_and_a_curve_by_its_area(two_systems: list[Path]) -> None:
    """Grid: 100 / 4 and 110 / 4; min_q: 0.1 * (40 + 15) / 0.2 = 27.5."""
    mopo = next(one for one in gather_robustness(two_systems) if one.row[0] == "mopo")
    found = {kind: scores.tolist() for kind, scores in summaries(mopo).items()}
    assert found == {"clean": [50, 60], "grid": [25, 27.5], "min_q": pytest.approx([27.5, 27.5]), "noise": [45, 45]}


def test_a_heat_map_has_frictions_down_and_gravities_across(two_systems: list[Path]) -> None:
    mopo = next(one for one in gather_robustness(two_systems) if one.row[0] == "mopo")
    frictions, gravities, scores = heat(mopo.of("grid"))
    assert (frictions, gravities) == ([0.5, 1.5], [0.5, 5.0])
    np.testing.assert_allclose(scores, [[10, 20], [30, 45]])


def test_scores_stand_at_the_epsilon_nearest_to_a_tenth(two_systems: list[Path]) -> None:
    mopo = next(one for one in gather_robustness(two_systems) if one.row[0] == "mopo")
    epsilon, scores = at_named_epsilon(mopo, "min_q") or (None, None)
    assert epsilon == 0.1
    np.testing.assert_array_equal(scores, [30, 30])


def test_the_tables_have_all_systems_and_say_what_one_cannot_have(two_systems: list[Path]) -> None:
    physics, attacks, sensors = (as_markdown(t) for t in robustness_tables(gather_robustness(two_systems), Style()))
    assert cells(physics, "mopo") == ["**55.0 ± 7.1**", "**26.2 ± 1.8**"]
    assert cells(physics, "bc") == ["30.0", "–"]
    assert "min_q and pgd_min_q ask critics, which not all systems have" in attacks
    assert "random at 0.1" in attacks
    assert "45.0 ± 0.0" in sensors


def test_a_grid_as_released_is_another_grid(write_job: WriteJob) -> None:
    run = write_job("a", {0: [50.0]})
    append_records(run / ROBUSTNESS, grid_of(0, {(0.5, 0.5): 10.0, (1.5, 5.0): 20.0}))
    append_records(run / ROBUSTNESS, grid_of(0, {(0.5, 0.5): 30.0, (1.5, 5.0): 60.0}, note="as released"))
    (measured,) = gather_robustness([run])
    assert {kind: scores.tolist() for kind, scores in summaries(measured).items()} == {"grid": [15], RELEASED: [45]}


def test_only_what_was_measured_last_counts(write_job: WriteJob) -> None:
    """A run that went on was measured at step 10 and at step 20."""
    run = write_job("a", {0: [50.0, 60.0]})
    append_records(run / ROBUSTNESS, [record(0, "clean", 1.0), record(0, "clean", 2.0, step=20)])
    (measured,) = gather_robustness([run])
    assert summaries(measured)["clean"].tolist() == [2.0]


def test_a_diverged_seed_is_left_out(write_job: WriteJob) -> None:
    run = write_job("a", {0: [50.0], 1: [1.0]}, diverged=(1,))
    append_records(run / ROBUSTNESS, [record(0, "clean", 50.0), record(1, "clean", 1.0)])
    (measured,) = gather_robustness([run])
    assert summaries(measured)["clean"].tolist() == [50.0]


def test_runs_without_records_are_one_line(write_job: WriteJob) -> None:
    with pytest.raises(UserError, match="none of the runs has robustness records"):
        gather_robustness([write_job("a", {0: [50.0]})])


def test_figures_have_a_panel_for_each_system_and_kind(two_systems: list[Path]) -> None:
    figures = draw_all(gather_robustness(two_systems))
    assert sorted(figures) == ["curves", "grid"]
    assert [panel.get_title() for panel in figures["curves"].axes] == ["min_q"]
    assert "mopo" in figures["grid"].axes[0].get_title()


def test_tables_and_pictures_are_written(two_systems: list[Path], tmp_path: Path) -> None:
    text = write_tables(two_systems, tmp_path / "out")
    assert (tmp_path / "out/robustness.md").read_text() == text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"robustness.md", "grid.png", "curves.png"}
    assert (tmp_path / "out/grid.png").read_bytes()[:4] == b"\x89PNG"
