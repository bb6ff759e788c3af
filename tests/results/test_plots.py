from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection, LineCollection
from matplotlib.image import imread

from offline_mbrl.errors import UserError
from offline_mbrl.results.curve_figure import draw_curves, line_and_band
from offline_mbrl.results.figure_style import PAPER
from offline_mbrl.results.groups import group_curves, only
from offline_mbrl.results.plots import Drawing, draw, learning_curves, plot
from offline_mbrl.results.query import read_curves
from offline_mbrl.tasks import TASKS

WriteJob = Callable[..., Path]


def test_lines_and_bands(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, 2.0], 1: [3.0, 6.0]})
    write_job("b", {0: [5.0, 5.0]}, algorithm="bc")
    write_job("c", {0: [7.0]}, task="walker2d-medium")
    figure = draw_curves(group_curves(read_curves([runs])), band="seeds")
    hopper, walker = figure.axes[:2]

    lines = {str(line.get_label()): line for line in hopper.get_lines()}
    assert list(lines) == ["bc (1 seed)", "mopo (2 seeds)", "data average"]
    np.testing.assert_allclose(np.asarray(lines["mopo (2 seeds)"].get_xydata()), [[10, 2], [20, 4]])
    band = [part for part in hopper.collections if isinstance(part, FillBetweenPolyCollection)][1]
    assert band.get_paths()[0].get_extents().extents == pytest.approx([10, 1, 20, 6])
    assert [walker.get_title(), hopper.get_title()] == ["walker2d-medium", "hopper-medium"]
    assert walker.get_lines()[0].get_color() == lines["mopo (2 seeds)"].get_color()
    assert "builtin data, d4rl-v2 physics" in figure.get_supxlabel()


def test_a_line_stands_on_the_steps_that_all_its_seeds_have(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, 2.0, 3.0], 1: [3.0, 6.0]}, mark="")
    steps, band, extremes = line_and_band(read_curves([runs]), "mean", "seeds")
    np.testing.assert_array_equal(steps, [10, 20])
    assert [np.asarray(part).tolist() for part in band] == [[2, 4], [1, 2], [3, 6]]
    assert extremes == (1, 6)


def test_a_band_is_the_t_interval_of_three_seeds_or_more(write_job: WriteJob, runs: Path) -> None:
    # Mean 3, standard error 2 / sqrt(3), and 4.303 of them on either side with two degrees of freedom.
    write_job("a", {0: [1.0], 1: [3.0], 2: [5.0]})
    _, band, _ = line_and_band(read_curves([runs]), "mean", "interval")
    assert band.low is not None
    assert band.low[0] == pytest.approx(3 - 4.30265 * 2 / 3**0.5, abs=1e-4)
    write_job("b", {0: [1.0], 1: [3.0]}, algorithm="bc")
    _, two, _ = line_and_band([curve for curve in read_curves([runs]) if curve.algorithm == "bc"], "mean", "interval")
    assert [np.asarray(part).tolist() for part in two] == [[2], [1], [3]]


def test_a_lost_seed_holds_its_last_score_to_the_end_of_the_line(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, 2.0, 3.0], 1: [5.0], 2: []}, diverged=(1, 2))
    (panel,) = draw_curves(group_curves(read_curves([runs]))).axes
    assert panel.get_lines()[0].get_label() == "mopo (3 seeds; 2 diverged)"
    np.testing.assert_allclose(
        np.asarray(panel.get_lines()[0].get_xydata()), [[10.0, 2.0], [20.0, 7 / 3], [30.0, 8 / 3]]
    )


def test_survivors_alone_are_drawn_where_that_is_asked_for(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, 2.0], 1: [99.0]}, diverged=(1,))
    (panel,) = draw_curves(group_curves(read_curves([runs]), survivors=True)).axes
    assert panel.get_lines()[0].get_label() == "mopo (1 of 2 seeds; 1 diverged)"
    np.testing.assert_allclose(np.asarray(panel.get_lines()[0].get_xydata()), [[10, 1], [20, 2]])


def test_panels_of_many_lines_share_one_legend(write_job: WriteJob, runs: Path) -> None:
    names = ("bc", "cql", "edac", "iql", "mopo", "td3_bc")
    for name in names:
        write_job(name, {0: [1.0, 2.0]}, algorithm=name)
    few = draw_curves(group_curves(read_curves([runs])))
    assert few.axes[0].get_legend() is not None
    assert few.legends == []

    write_job("elsewhere", {0: [1.0, 2.0]}, algorithm="atac", task="walker2d-medium")
    many = draw_curves(group_curves(read_curves([runs])))
    assert all(panel.get_legend() is None for panel in many.axes)
    (legend,) = many.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert sorted(texts) == sorted(["data average", *(f"{name} (1 seed)" for name in ("atac", *names))])


def test_a_picture_is_written(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    write_job("a", {0: [1.0, 2.0]})
    path = learning_curves([runs], tmp_path / "curves.png")
    height, width, _ = imread(path).shape
    assert (height, width) > (400, 800)


@pytest.mark.parametrize(("ending", "start"), [(".pdf", b"%PDF"), (".svg", b"<?xml"), (".PNG", b"\x89PNG")])
def test_the_ending_is_the_format(write_job: WriteJob, runs: Path, tmp_path: Path, ending: str, start: bytes) -> None:
    write_job("a", {0: [1.0, 2.0]})
    assert plot([runs], tmp_path / f"x{ending}", Drawing(paper=True)).read_bytes().startswith(start)


def test_what_cannot_be_drawn_is_said(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    write_job("a", {0: [1.0]})
    write_job("b", {0: [1.0]}, algorithm="bc", task="walker2d-medium")
    with pytest.raises(UserError, match=r"written as .png, .pdf, .svg, not as '.jpg'"):
        plot([runs], tmp_path / "x.jpg")
    with pytest.raises(UserError, match="needs --baseline"):
        plot([runs], tmp_path / "x.png", Drawing("improvement"))
    with pytest.raises(UserError, match="no task has seeds of every row"):
        plot([runs], tmp_path / "x.png", Drawing("profiles"))
    assert list(tmp_path.glob("x*")) == []


def test_figures_over_tasks_show_what_the_tables_say(write_job: WriteJob, runs: Path) -> None:
    for task in ("hopper-medium", "walker2d-medium"):
        write_job(f"m-{task}", {seed: [50.0 + seed] for seed in range(5)}, task=task)
        write_job(f"b-{task}", {seed: [40.0 + seed] for seed in range(5)}, task=task, algorithm="bc")
    groups = group_curves(read_curves([runs]))
    mean, *_ = draw(groups, Drawing("aggregates")).axes
    assert [label.get_text() for label in mean.get_yticklabels()] == ["bc", "mopo"]
    values = [part.get_segments()[0][0][0] for part in mean.collections if isinstance(part, LineCollection)]
    assert values == [42, 52]
    low, _, high, _ = mean.patches[1].get_extents().transformed(mean.transData.inverted()).extents
    assert 50 < low < 52 < high < 54

    (profile,) = draw(groups, Drawing("profiles")).axes
    line = np.asarray(profile.get_lines()[1].get_xydata())
    assert dict(line.tolist())[50.0] == pytest.approx(0.8)  # 51, 52, 53 and 54 of 50 to 54

    (over_steps,) = draw(groups, Drawing("over-steps")).axes
    assert [np.asarray(line.get_xydata()).tolist() for line in over_steps.get_lines()] == [[[10, 42]], [[10, 52]]]

    (chance,) = draw(groups, Drawing("improvement", baseline="bc")).axes
    assert [label.get_text() for label in chance.get_yticklabels()] == ["mopo"]
    assert chance.get_xlabel() == "P(improvement on bc)"


def test_a_paper_has_two_columns(write_job: WriteJob, runs: Path) -> None:
    for task in list(TASKS)[:3]:
        write_job(task, {0: [1.0, 2.0]}, task=task)
    groups = group_curves(read_curves([runs]))
    assert draw(only(groups, [next(iter(TASKS))]), Drawing(), PAPER).get_figwidth() == 3.25
    assert 3.25 < draw(groups, Drawing(), PAPER).get_figwidth() <= 6.75
    assert draw(groups, Drawing(), PAPER).get_supxlabel() == ""
