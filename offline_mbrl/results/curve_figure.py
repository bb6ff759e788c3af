"""Learning curves: a panel per task, a line per row, a band over seeds."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import ceil
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from offline_mbrl.results.aggregates import scores_at, shared_steps
from offline_mbrl.results.figure_style import SCREEN, Looks, Size, add_caption, add_legend, looks, tidy
from offline_mbrl.results.groups import Group, column_labels, row_label, unique_columns
from offline_mbrl.results.intervals import t_band
from offline_mbrl.results.query import Column, Curve, DataSummary
from offline_mbrl.results.statistics import FEWEST_SEEDS, Band, estimate_curve

Center = Literal["mean", "iqm"]
Spread = Literal["interval", "seeds"]

PANEL_LEGEND = 6
"""Most lines of a figure whose panels have legends of their own; with more, one legend stands beside the panels."""
CENTERS = {"mean": "mean", "iqm": "interquartile mean"}
INTERVALS = {"mean": "t-interval, of 2 seeds", "iqm": "bootstrap interval, of fewer than 9 seeds"}


def draw_curves(
    groups: Sequence[Group], center: Center = "mean", band: Spread = "interval", size: Size = SCREEN
) -> Figure:
    """A panel for each column of `groups`, with the data set's own average as a dashed line."""
    columns = unique_columns(groups)
    styles = looks(group.row for group in groups)
    figure, panels = _panels(len(columns), size)
    draw = partial(_draw_line, styles=styles, center=center, band=band)
    for panel, (column, label) in zip(panels, column_labels(columns).items(), strict=True):
        _draw_panel(panel, label, [group for group in groups if group.column == column], columns[column], draw)
    _add_legends(figure, panels, size, shared=len(styles) > PANEL_LEGEND or size.paper)
    add_caption(figure, _caption(columns, center, band), size)
    return figure


def line_and_band(
    curves: Sequence[Curve], center: Center, band: Spread
) -> tuple[NDArray[np.int64], Band, tuple[float, float]]:
    """What is drawn of some seeds: their shared steps [n], a line and band there, and the lowest and highest score."""
    steps = shared_steps(curves)
    scores = scores_at(curves, steps)
    about = t_band(scores) if center == "mean" else estimate_curve([scores])
    # A t-interval of two seeds is thirteen standard errors on either side and would hide all else.
    has_interval = band == "interval" and about.low is not None and len(curves) >= FEWEST_SEEDS
    ends = (about.low, about.high) if has_interval else (scores.min(axis=0), scores.max(axis=0))
    return np.array(steps, np.int64), Band(about.value, *ends), (float(scores.min()), float(scores.max()))


def _panels(count: int, size: Size) -> tuple[Figure, list[Axes]]:
    across, down = min(count, size.across), ceil(count / size.across)
    width = min(max(size.panel[0] * across, size.narrowest), size.widest)
    figure = Figure((width, size.panel[1] * down + 0.09 * size.small), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels[:count]


def _draw_panel(
    panel: Axes, title: str, groups: Iterable[Group], dataset: DataSummary, draw: Callable[[Axes, Group], list[float]]
) -> None:
    extremes = [score for group in groups for score in draw(panel, group)]
    if dataset.score_mean is not None:
        panel.axhline(dataset.score_mean, color="0.4", linestyle=(0, (4, 3)), linewidth=1, label="data average")
        extremes.append(dataset.score_mean)
    if extremes:  # a t-interval of few seeds may be taller than all else, so bands do not set the scale
        margin = 0.06 * (max(extremes) - min(extremes) or 1.0)
        panel.set_ylim(min(extremes) - margin, max(extremes) + margin)
    panel.set(title=title, xlabel="gradient steps", ylabel="normalized score")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    tidy(panel)


def _draw_line(panel: Axes, group: Group, styles: Looks, center: Center, band: Spread) -> list[float]:
    """Draws the seeds that count, or where none does what there is of them so far; returns the extremes."""
    curves = group.counted or [curve for curve in group.curves if curve.scores]
    if not shared_steps(curves):
        return []
    steps, about, extremes = line_and_band(curves, center, band)
    color, style = styles[group.row]
    label = f"{row_label(group.row)} ({group.seeds_note})"
    panel.plot(steps, about.value, color=color, linestyle=style, marker="." if len(steps) <= 20 else None, label=label)
    if about.low is not None and about.high is not None:
        panel.fill_between(steps, about.low, about.high, color=color, alpha=0.18, linewidth=0)
    return list(extremes)


def _add_legends(figure: Figure, panels: Sequence[Axes], size: Size, shared: bool) -> None:
    """A legend in each panel, or one beside them."""
    if shared:
        add_legend(figure, panels, size)
        return
    for panel in panels:
        panel.legend(frameon=False, fontsize=size.small)


def _caption(columns: Iterable[Column], center: Center, band: Spread) -> str:
    origins = dict.fromkeys(f"{column.source} data, {column.physics} physics" for column in columns)
    around = (f"95 % {INTERVALS[center]} " if band == "interval" else "") + "lowest to highest seed"
    return (
        f"{'; '.join(origins)}. Line: {CENTERS[center]} over seeds; band: {around}; "
        "each point: mean over the episodes of one evaluation of the deterministic policy."
    )
