"""Colors, sizes and fonts of the figures, on screen and in a paper of two columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offline_mbrl.results.groups import Row

# Okabe and Ito's palette, told apart with any color vision; with the line styles it serves 28 rows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")

Looks = Mapping[Row, tuple[str, str]]
"""The color and line style of each row."""


@dataclass(frozen=True)
class Size:
    """Inches of a panel, of the narrowest and widest figure, panels side by side, and Matplotlib's own settings.

    `small` is the type of legends, in points. A figure for a paper has no words below it, where the paper has its own,
    and one legend below its panels, which have no room for theirs.
    """

    panel: tuple[float, float]
    narrowest: float
    widest: float
    across: int
    small: float
    paper: bool
    label: int
    """Signs of a row's label before it goes on in a second line."""
    settings: Mapping[str, object] = field(default_factory=dict)


SCREEN = Size(panel=(4.6, 3.4), narrowest=6.0, widest=18.4, across=4, small=8, paper=False, label=60)

# A column of 3.25 inches and a text block of 6.75, as ICML's and most two-column styles have; type as small as a
# caption's; fonts embedded as TrueType, which publishers ask for, and text in SVG left as text.
PAPER = Size(
    panel=(1.69, 1.55),
    narrowest=3.25,
    widest=6.75,
    across=4,
    small=6.5,
    paper=True,
    label=24,
    settings={
        "font.size": 7.0,
        "axes.titlesize": 7.0,
        "axes.labelsize": 7.0,
        "lines.linewidth": 1.0,
        "lines.markersize": 3.0,
        "axes.linewidth": 0.6,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
    },
)


def looks(rows: Iterable[Row]) -> dict[Row, tuple[str, str]]:
    """The look of each row, the same in all panels."""
    kinds = [(color, style) for style in STYLES for color in PALETTE]
    return {row: kinds[place % len(kinds)] for place, row in enumerate(dict.fromkeys(rows))}


def tidy(panel: Axes) -> None:
    """A light grid behind the data, and no frame above and right of it."""
    panel.grid(color="0.92")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def add_legend(figure: Figure, panels: Sequence[Axes], size: Size) -> None:
    """One legend with every label of `panels`: right of them, or on paper below, where the figure grows for it."""
    entries = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in panels]
    lines = {fill(label, 60): line for entry in entries for line, label in entry}
    style: dict[str, Any] = {"frameon": False, "fontsize": size.small, "loc": "outside right upper"}
    if size.paper:
        longest = max(max(map(len, label.splitlines())) for label in lines)
        columns = max(1, int(figure.get_figwidth() / (0.008 * size.small * longest + 0.45)))
        style |= {"ncols": columns, "loc": "outside lower center"}
        height = sum(1 + label.count("\n") for label in lines) / columns
        figure.set_figheight(figure.get_figheight() + ceil(height) * 1.7 * size.small / 72)
    figure.legend(lines.values(), lines.keys(), **style)


def add_caption(figure: Figure, text: str, size: Size) -> None:
    """Words below the figure, which papers write themselves."""
    if not size.paper:
        width = int(figure.get_figwidth() * 120 / size.small)
        figure.supxlabel(fill(text, width), fontsize=size.small, color="0.3")
