from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.image import imread

from offline_mbrl.results.groups import group_curves
from offline_mbrl.results.plots import draw, learning_curves, seed_scores
from offline_mbrl.results.query import read_curves

WriteJob = Callable[..., Path]


def test_lines_and_bands(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, 2.0], 1: [3.0, 6.0]})
    write_job("b", {0: [5.0, 5.0]}, algorithm="bc")
    write_job("c", {0: [7.0]}, task="walker2d-medium")
    figure = draw(group_curves(read_curves([runs])))
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
    steps, scores = seed_scores(read_curves([runs]))
    np.testing.assert_array_equal(steps, [10, 20])
    np.testing.assert_array_equal(scores, [[1, 2], [3, 6]])


def test_diverged_seeds_are_not_drawn(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [1.0, 2.0], 1: [99.0]}, diverged=(1,))
    (panel,) = draw(group_curves(read_curves([runs]))).axes
    assert panel.get_lines()[0].get_label() == "mopo (1 of 2 seeds; 1 diverged)"
    np.testing.assert_allclose(np.asarray(panel.get_lines()[0].get_xydata()), [[10, 1], [20, 2]])


def test_panels_of_many_lines_share_one_legend(write_job: WriteJob, runs: Path) -> None:
    names = ("bc", "cql", "edac", "iql", "mopo", "td3_bc")
    for name in names:
        write_job(name, {0: [1.0, 2.0]}, algorithm=name)
    few = draw(group_curves(read_curves([runs])))
    assert few.axes[0].get_legend() is not None
    assert few.legends == []

    write_job("elsewhere", {0: [1.0, 2.0]}, algorithm="atac", task="walker2d-medium")
    many = draw(group_curves(read_curves([runs])))
    assert all(panel.get_legend() is None for panel in many.axes)
    (legend,) = many.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert sorted(texts) == sorted(["data average", *(f"{name} (1 seed)" for name in ("atac", *names))])


def test_a_picture_is_written(write_job: WriteJob, runs: Path, tmp_path: Path) -> None:
    write_job("a", {0: [1.0, 2.0]})
    path = learning_curves([runs], tmp_path / "curves.png")
    height, width, _ = imread(path).shape
    assert (height, width) > (400, 800)
