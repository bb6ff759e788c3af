"""The pictures of the benchmarks: a roofline, and costs over sizes."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from growth import growth
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter
from measure import Line

from offline_mbrl.errors import UserError
from offline_mbrl.results.figure_style import PALETTE, tidy

MARKERS = "osD^vP*X"


def draw_roofline(about: Mapping[str, Any], lines: Sequence[Line], path: Path) -> None:
    """Every line that has FLOP, bytes and time, under the device's two ceilings.

    A point above the slope has its traffic in a cache. Colors are programs, shapes numbers of seeds.

    Raises:
      UserError: no line has all three.
    """
    points = [line for line in lines if {"gflop", "gb", "ms"} <= line.keys() and line["gflop"] > 0 and line["gb"] > 0]
    if not points:
        raise UserError("a roofline needs FLOP, bytes and times: ask for --parts fits, systems or kernels")
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    axes = figure.subplots()
    intensity = [line["gflop"] / line["gb"] for line in points]
    reach = np.geomspace(min(intensity) / 3, max(max(intensity), ridge(about)) * 3, 200)
    ceiling = np.minimum(about["matrix_product_gflops"], about["bandwidth_gb_per_s"] * reach)
    axes.plot(reach, ceiling, color="0.3", lw=1.2, label="ceiling of the device")
    styles = dict(zip(dict.fromkeys(map(title, points)), cycle(PALETTE), strict=False))
    shapes = dict(zip(dict.fromkeys(line["seeds"] for line in points), cycle(MARKERS), strict=False))
    for line, x in zip(points, intensity, strict=True):
        rate = line["gflop"] / line["ms"] * 1e3
        label = f"{title(line)}, {line['seeds']} seeds"
        axes.plot(x, rate, shapes[line["seeds"]], color=styles[title(line)], ms=6, ls="", label=label)
    label_axes(axes, "FLOP of matrix products for each byte moved", "GFLOP/s")
    axes.set_title(f"{about['device']}, precision {about['precision']}", fontsize=9)
    figure.legend(frameon=False, fontsize=6.5, loc="outside right upper", ncols=1 + len(points) // 28)
    save(figure, path)


def ridge(about: Mapping[str, Any]) -> float:
    """FLOP for each byte from which arithmetic binds."""
    return float(about["matrix_product_gflops"] / about["bandwidth_gb_per_s"])


def title(line: Line) -> str:
    """The program of a line."""
    return str(line.get("system") or line.get("fit") or line.get("program"))


def draw_growth(about: Mapping[str, Any], lines: Sequence[Line], path: Path) -> None:
    """A panel for each size that was varied: every cost relative to its first, with its exponent."""
    axes_names = list(dict.fromkeys(line["of"] for line in lines))
    columns = min(len(axes_names), 3)
    deep = -(-len(axes_names) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.4 * deep), layout="constrained")
    panels = figure.subplots(deep, columns, squeeze=False).flat
    for name, axes in zip(axes_names, panels, strict=False):  # names first: it must not take a panel more
        rows = [line for line in lines if line["of"] == name]
        sizes = [line["size"] for line in rows]
        for color, quantity in zip(cycle(PALETTE), quantities(rows), strict=False):
            costs = np.array([line[quantity] for line in rows])
            label = quantity if len(sizes) < 2 else f"{quantity}, {growth(sizes, costs.tolist()).exponent:+.2f}"
            axes.plot(sizes, costs / costs[0], "o-", color=color, ms=3.5, lw=1.2, label=label)
        label_axes(axes, name, "relative to the first")
        axes.set_xticks(sizes, [f"{size:,}" if size < 10_000 else EngFormatter(sep="")(size) for size in sizes])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter("{x:g}")
        if within_a_decade(axes):
            axes.yaxis.set_minor_formatter("{x:g}")
        axes.legend(frameon=False, fontsize=6.5)
    for axes in panels:
        axes.set_axis_off()
    figure.suptitle(f"{about['device']}, precision {about['precision']}; beside each name its exponent", fontsize=9)
    save(figure, path)


def within_a_decade(axes: Axes) -> bool:
    """Whether powers of ten alone are too few to label the costs with."""
    low, high = axes.get_ylim()
    return high < 10 * low


def quantities(lines: Sequence[Line]) -> list[str]:
    """The costs that every one of `lines` has and that can be drawn by their logarithm."""
    names = [name for name, value in lines[0].items() if isinstance(value, float)]
    return [name for name in names if all(line.get(name, 0) > 0 for line in lines)]


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Logarithms both ways, with a light grid."""
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    tidy(axes)


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
