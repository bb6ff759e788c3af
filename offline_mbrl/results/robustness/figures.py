"""Heat maps of the grid and curves over epsilon and over each multiplier, all systems side by side."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from offline_mbrl.results.figure_style import SCREEN, Looks, add_legend, looks, tidy
from offline_mbrl.results.groups import column_labels, row_label
from offline_mbrl.results.robustness.gather import RELEASED, Measured
from offline_mbrl.results.robustness.summary import Floats, curve, heat
from offline_mbrl.results.robustness.tables import columns_of
from offline_mbrl.robustness.attacks import ATTACKS
from offline_mbrl.robustness.protocol import ALONE, GRID

CURVES = (*ATTACKS, *ALONE)

Heat = tuple[list[float], list[float], Floats]

WIDE, HIGH = 2.7, 2.3
"""Inches of a panel."""


def draw_all(measured: Sequence[Measured]) -> dict[str, Figure]:
    """The figures that have something to show, by name."""
    drawn = {
        "grid": draw_grids(measured, GRID),
        "grid_released": draw_grids(measured, RELEASED),
        "curves": draw_curves(measured),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def draw_grids(measured: Sequence[Measured], kind: str) -> Figure | None:
    """A heat map for each system (across) and task (down), on one scale of scores for each task."""
    shown = [one for one in measured if one.of(kind)]
    if not shown:
        return None
    columns, rows = columns_of(shown), list(dict.fromkeys(one.row for one in shown))
    figure = Figure((0.8 + WIDE * len(rows), 0.4 + HIGH * len(columns)), layout="constrained")
    panels = figure.subplots(len(columns), len(rows), squeeze=False)
    labels = column_labels(columns)
    for place, column in enumerate(columns):
        own = {one.row: heat(one.of(kind)) for one in shown if one.column == column}
        ends = _ends(own.values())
        for panel, row in zip(panels[place], rows, strict=True):
            if row not in own:
                panel.set_visible(False)
                continue
            image = _draw_heat(panel, own[row], ends)
            panel.set_title(f"{row_label(row)}\n{labels[column]}", fontsize=SCREEN.small)
        figure.colorbar(image, ax=list(panels[place]), label="normalized score", shrink=0.8)
    return figure


def draw_curves(measured: Sequence[Measured]) -> Figure | None:
    """A panel for each attack and multiplier (across) and task (down), a line for each system, mean over seeds."""
    kinds = [kind for kind in CURVES if any(len(one.of(kind)) > 1 for one in measured)]
    if not kinds:
        return None
    columns, styles = columns_of(measured), looks(one.row for one in measured)
    figure = Figure((WIDE * len(kinds) + 1.2, HIGH * len(columns)), layout="constrained")
    panels = figure.subplots(len(columns), len(kinds), squeeze=False)
    labels = column_labels(columns)
    for line, column in zip(panels, columns, strict=True):
        own = [one for one in measured if one.column == column]
        for panel, kind in zip(line, kinds, strict=True):
            _draw_lines(panel, kind, own, styles)
        line[0].set_ylabel(f"{labels[column]}\nnormalized score", fontsize=SCREEN.small)
    add_legend(figure, list(panels.flat), SCREEN)
    return figure


def _ends(maps: Iterable[Heat]) -> tuple[float, float]:
    cells = np.concatenate([heated.ravel() for _, _, heated in maps])
    return float(np.nanmin(cells)), float(np.nanmax(cells))


def _draw_heat(panel: Axes, heated: Heat, ends: tuple[float, float]) -> QuadMesh:
    frictions, gravities, scores = heated
    image = panel.pcolormesh(gravities, frictions, scores, shading="nearest", vmin=ends[0], vmax=ends[1])
    panel.plot(1, 1, "+", color="white")  # the run's own physics
    panel.tick_params(labelsize=SCREEN.small)
    panel.set_xlabel("gravity", fontsize=SCREEN.small)
    panel.set_ylabel("friction", fontsize=SCREEN.small)
    return image


def _draw_lines(panel: Axes, kind: str, measured: Sequence[Measured], styles: Looks) -> None:
    for one in measured:
        points = one.of(kind)
        if len(points) > 1:
            axis, scores = curve(points)
            color, style = styles[one.row]
            panel.plot(axis, scores.mean(axis=1), color=color, linestyle=style, label=row_label(one.row))
    panel.set_title(kind, fontsize=SCREEN.small)
    panel.set_xlabel("epsilon" if kind in ATTACKS else "multiplier", fontsize=SCREEN.small)
    panel.tick_params(labelsize=SCREEN.small)
    tidy(panel)
