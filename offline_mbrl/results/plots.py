"""Learning curves: a panel per task, a line per algorithm, a band over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from offline_mbrl.results.groups import Group, Row, column_labels, group_curves, row_label, unique_columns
from offline_mbrl.results.query import Column, Curve, DataSummary, read_curves
from offline_mbrl.storage.files import write_atomically

# Okabe and Ito's palette, told apart with any color vision; with the line styles it serves 28 rows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
PANEL_INCHES = (4.6, 3.4)
PANELS_ACROSS = 4
PANEL_LEGEND = 6
"""Most lines of a figure whose panels have legends of their own; with more, one legend stands beside the panels."""


def learning_curves(run_dirs: Sequence[Path], path: Path) -> Path:
    """Draw the scores of all jobs below `run_dirs` to the PNG `path`, which is returned.

    A line is the mean over seeds of the evaluations' normalized score, its band reaches from the lowest to the highest
    seed, and the dashed line is the data set's own average. Seeds that were not trained to the end are drawn only where
    no seed of their line was.

    Raises:
        UserError: there is nothing to draw.
    """
    figure = draw(group_curves(read_curves(run_dirs)))
    with write_atomically(path) as file:
        figure.savefig(file, format="png", dpi=150)
    return path


def draw(groups: Sequence[Group]) -> Figure:
    """The figure of `learning_curves`."""
    columns = unique_columns(groups)
    looks = _looks(groups)
    across, down = min(len(columns), PANELS_ACROSS), ceil(len(columns) / PANELS_ACROSS)
    figure = Figure((max(PANEL_INCHES[0] * across, 6.0), PANEL_INCHES[1] * down + 0.7), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for panel, (column, label) in zip(panels, column_labels(columns).items(), strict=False):
        own = [group for group in groups if group.column == column]
        _draw_panel(panel, label, own, columns[column], looks)
    for panel in panels[len(columns) :]:
        panel.set_visible(False)
    _add_legends(figure, panels[: len(columns)], shared=len(looks) > PANEL_LEGEND)
    width = int(figure.get_figwidth() * 15)
    figure.supxlabel(fill(_caption(columns), width), fontsize=8, color="0.3")
    return figure


def seed_scores(curves: Sequence[Curve]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps [n] and scores [n_seeds, n] at the steps that every one of `curves` was evaluated at."""
    shared = sorted(set.intersection(*(set(curve.at) for curve in curves)))
    by_step = [dict(zip(curve.at, curve.scores, strict=True)) for curve in curves]
    scores = [[scores[step] for step in shared] for scores in by_step]
    return np.array(shared, np.int64), np.array(scores, np.float64).reshape(len(curves), len(shared))


def _draw_panel(
    panel: Axes, title: str, groups: Iterable[Group], dataset: DataSummary, looks: Mapping[Row, tuple[str, str]]
) -> None:
    for group in groups:
        _draw_line(panel, group, *looks[group.row])
    if dataset.score_mean is not None:
        panel.axhline(dataset.score_mean, color="0.4", linestyle=(0, (4, 3)), linewidth=1, label="data average")
    panel.set(title=title, xlabel="gradient steps", ylabel="normalized score")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.grid(color="0.92")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _draw_line(panel: Axes, group: Group, color: str, style: str) -> None:
    curves = group.counted or [curve for curve in group.curves if curve.scores]
    if not curves:
        return
    steps, scores = seed_scores(curves)
    seeds = group.shortfall or f"{len(curves)} seed{'s' * (len(curves) > 1)}"
    label = f"{row_label(group.row)} ({seeds})"
    marker = "." if len(steps) <= 20 else None
    panel.plot(steps, scores.mean(0), color=color, linestyle=style, marker=marker, label=label)
    panel.fill_between(steps, scores.min(0), scores.max(0), color=color, alpha=0.18, linewidth=0)


def _add_legends(figure: Figure, panels: Sequence[Axes], shared: bool) -> None:
    """A legend in each panel, or one right of them with every label that any of them has."""
    style = {"frameon": False, "fontsize": 8}
    if shared:
        entries = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in panels]
        lines = {label: line for entry in entries for line, label in entry}
        figure.legend(lines.values(), lines.keys(), loc="outside right upper", **style)
        return
    for panel in panels:
        panel.legend(**style)


def _looks(groups: Iterable[Group]) -> dict[Row, tuple[str, str]]:
    """The color and line style of each row, the same in all panels."""
    rows = dict.fromkeys(group.row for group in groups)
    looks = [(color, style) for style in STYLES for color in PALETTE]
    return {row: looks[place % len(looks)] for place, row in enumerate(rows)}


def _caption(columns: Iterable[Column]) -> str:
    origins = dict.fromkeys(f"{column.source} data, {column.physics} physics" for column in columns)
    return (
        f"{'; '.join(origins)}. Line: mean over seeds; band: lowest to highest seed; "
        "each point: mean over the episodes of one evaluation of the deterministic policy."
    )
