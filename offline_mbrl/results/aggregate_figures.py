"""Figures over tasks: aggregates with their intervals, performance profiles, probabilities of improvement."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from offline_mbrl.errors import UserError
from offline_mbrl.results.aggregates import aggregate, aggregate_curves, profiles, scores_by_row, shared_columns
from offline_mbrl.results.compare import compare_groups
from offline_mbrl.results.figure_style import SCREEN, Looks, Size, add_caption, add_legend, looks, tidy
from offline_mbrl.results.groups import Group, Row, row_label
from offline_mbrl.results.statistics import STATISTICS, Band, Estimate

ROW_INCHES = 0.32
THRESHOLDS, STEPS = 101, 100
"""Most points of a line."""


def draw_aggregates(groups: Sequence[Group], size: Size) -> Figure:
    """A panel for each aggregate over the tasks that all rows have, a bar of its interval for each row."""
    values, styles = aggregate(_over_tasks(groups)), looks(group.row for group in groups)
    figure = Figure((_wide(size), _height([one.row for one in values], size)), layout="constrained")
    panels = figure.subplots(1, len(STATISTICS), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, STATISTICS, strict=True):
        _draw_bars(panel, {one.row: one.estimates[name] for one in values}, styles, size)
        panel.set(title=name + (" ↓" if name == "optimality gap" else " ↑"))
    add_caption(
        figure,
        f"{_over(groups)} Bars: 95 % bootstrap intervals over seeds, stratified by task; ↑ higher, ↓ lower is better.",
        size,
    )
    return figure


def draw_profiles(groups: Sequence[Group], size: Size) -> Figure:
    """The share of seeds, over tasks, that score above each threshold; the higher line is the better."""
    scores = [score for tasks in scores_by_row(_over_tasks(groups)).values() for task in tasks for score in task]
    thresholds = np.linspace(min(0.0, *scores), max(100.0, *scores), THRESHOLDS)
    lines = {row: (thresholds, band) for row, band in profiles(groups, thresholds).items()}
    figure, panel = _draw_bands(groups, lines, size)
    panel.set(xlabel="normalized score t", ylabel="share of seeds above t", ylim=(-0.02, 1.02))
    return figure


def draw_over_steps(groups: Sequence[Group], size: Size) -> Figure:
    """The interquartile mean over tasks and seeds against gradient steps, each point of one evaluation."""
    figure, panel = _draw_bands(groups, aggregate_curves(_over_tasks(groups), STEPS), size)
    panel.set(xlabel="gradient steps", ylabel="IQM of normalized scores")
    return figure


def draw_improvement(groups: Sequence[Group], baseline: str, size: Size) -> Figure:
    """The probability that a seed of each row beats one of the baseline, over the tasks that both have."""
    comparisons = compare_groups(groups, baseline)
    figure = Figure((_narrow(size), _height([one.row for one in comparisons], size)), layout="constrained")
    panel = figure.subplots()
    panel.axvline(0.5, color="0.4", linestyle=(0, (4, 3)), linewidth=1)
    _draw_bars(panel, {one.row: one.improvement for one in comparisons}, looks(group.row for group in groups), size)
    panel.set(xlabel=f"P(improvement on {row_label(comparisons[0].baseline)})", xlim=(-0.02, 1.02))
    add_caption(figure, "Over the tasks that both have. Bars: 95 % bootstrap intervals over seeds.", size)
    return figure


def _draw_bands(
    groups: Sequence[Group], lines: Mapping[Row, tuple[ArrayLike, Band]], size: Size
) -> tuple[Figure, Axes]:
    """A line for each row, of x [n] and the band there, in one panel with its legend."""
    styles = looks(group.row for group in groups)
    figure = Figure((_narrow(size), size.panel[1] * 1.3), layout="constrained")
    panel = figure.subplots()
    for row, (x, band) in lines.items():
        color, style = styles[row]
        panel.plot(x, band.value, color=color, linestyle=style, label=row_label(row))
        if band.low is not None and band.high is not None:
            panel.fill_between(x, band.low, band.high, color=color, alpha=0.18, linewidth=0)
    tidy(panel)
    add_legend(figure, [panel], size)
    add_caption(figure, f"{_over(groups)} Bands: pointwise 95 % bootstrap intervals.", size)
    return figure, panel


def _draw_bars(panel: Axes, rows: Mapping[Row, Estimate], styles: Looks, size: Size) -> None:
    """A horizontal bar from low to high for each row, the first on top, with its value as a line."""
    panel.use_sticky_edges = False
    for place, (row, about) in enumerate(rows.items()):
        color, _ = styles[row]
        if about.low is not None and about.high is not None:
            panel.barh(place, about.high - about.low, left=about.low, color=color, alpha=0.35, height=0.6)
        panel.vlines(about.value, place - 0.3, place + 0.3, color=color, linewidth=2)
    panel.set_yticks(range(len(rows)), [_label(row, size) for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    tidy(panel)


def _over_tasks(groups: Sequence[Group]) -> Sequence[Group]:
    if not shared_columns(groups):
        raise UserError("no task has seeds of every row, so nothing is over tasks; choose rows or tasks with --only")
    return groups


def _over(groups: Sequence[Group]) -> str:
    shared = shared_columns(groups)
    return f"Over {len(shared)} task{'s' * (len(shared) > 1)} that all rows have."


def _label(row: Row, size: Size) -> str:
    return fill(row_label(row), size.label)


def _height(rows: Sequence[Row], size: Size) -> float:
    """Inches: as much as the labels take, and what stands around them."""
    lines = max(_label(row, size).count("\n") for row in rows)
    return (ROW_INCHES * (1 + 0.5 * lines) * len(rows) + 1.1) * size.small / SCREEN.small


def _wide(size: Size) -> float:
    return min(size.widest, size.panel[0] * size.across)


def _narrow(size: Size) -> float:
    return max(size.narrowest, size.panel[0])
