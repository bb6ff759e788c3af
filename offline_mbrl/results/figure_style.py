"""Colors, sizes and fonts of the figures, on screen and in a paper of two columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.axes import Axes

from offline_mbrl.results.groups import Row

# Okabe and Ito's palette, told apart with any color vision; with the line styles it serves 28 rows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")

Looks = Mapping[Row, tuple[str, str]]
"""The color and line style of each row."""


@dataclass(frozen=True)
class Size:
    """Inches of a panel, the widest and narrowest figure, panels side by side, and Matplotlib's own settings."""

    panel: tuple[float, float]
    narrowest: float
    widest: float
    across: int
    small: float
    """Points of a legend's and a caption's type."""
    shared_legend: bool
    """Whether there is one legend even for few lines: small panels have no room for theirs."""
    legend: Literal["outside right upper", "outside upper center"]
    legend_columns: int
    settings: Mapping[str, object] = field(default_factory=dict)


SCREEN = Size(
    panel=(4.6, 3.4),
    narrowest=6.0,
    widest=18.4,
    across=4,
    small=8,
    shared_legend=False,
    legend="outside right upper",
    legend_columns=1,
)

# A column of 3.25 inches and a text block of 6.75, as ICML's and most two-column styles have; type as small as a
# caption's; fonts embedded as TrueType, which publishers ask for, and text in SVG left as text.
PAPER = Size(
    panel=(1.69, 1.55),
    narrowest=3.25,
    widest=6.75,
    across=4,
    small=6.5,
    shared_legend=True,
    legend="outside upper center",
    legend_columns=3,
    settings={
        "font.size": 7.5,
        "axes.titlesize": 7.5,
        "lines.linewidth": 1.0,
        "lines.markersize": 3.0,
        "axes.linewidth": 0.6,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "savefig.dpi": 300,
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
