"""Figures of the results below some folders, as PNG, PDF or SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.figure import Figure

from offline_mbrl.errors import UserError
from offline_mbrl.results.aggregate_figures import draw_aggregates, draw_improvement, draw_over_steps, draw_profiles
from offline_mbrl.results.curve_figure import Center, Spread, draw_curves
from offline_mbrl.results.figure_style import PAPER, SCREEN, Size
from offline_mbrl.results.groups import Group
from offline_mbrl.results.tables import Options, read_groups
from offline_mbrl.storage.files import write_atomically

Kind = Literal["curves", "aggregates", "over-steps", "profiles", "improvement"]
ENDINGS = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Drawing:
    """What to draw and how.

    `center` and `band` are those of curves, `baseline` that of improvements; `paper` is for a paper of two columns.
    """

    kind: Kind = "curves"
    center: Center = "mean"
    band: Spread = "interval"
    baseline: str | None = None
    paper: bool = False


def learning_curves(run_dirs: Sequence[Path], path: Path) -> Path:
    """Draw the scores of all jobs below `run_dirs` to `path`, which is returned; see `plot`."""
    return plot(run_dirs, path)


def plot(run_dirs: Sequence[Path], path: Path, drawing: Drawing | None = None, options: Options | None = None) -> Path:
    """Draw the results of all jobs below `run_dirs` to `path`, in the format of its ending; returns the path.

    Raises:
        UserError: the ending is unknown, or there is nothing to draw.
    """
    ending, asked = path.suffix.lower() or ENDINGS[0], drawing or Drawing()
    if ending not in ENDINGS:
        raise UserError(
            f"figures are written as {', '.join(ENDINGS)}, not as '{path.suffix}'; give --out such an ending"
        )
    if asked.kind == "improvement" and asked.baseline is None:
        raise UserError("--kind improvement needs --baseline, the algorithm that the others are held against")
    size = PAPER if asked.paper else SCREEN
    with mpl.rc_context(cast(dict[Any, Any], size.settings)):
        figure = draw(read_groups(run_dirs, options or Options()), asked, size)
        with write_atomically(path) as file:
            figure.savefig(file, format=ending[1:], dpi=300 if asked.paper else 150)
    return path


def draw(groups: Sequence[Group], drawing: Drawing, size: Size = SCREEN) -> Figure:
    """The figure of `plot`."""
    match drawing.kind:
        case "curves":
            return draw_curves(groups, drawing.center, drawing.band, size)
        case "aggregates":
            return draw_aggregates(groups, size)
        case "over-steps":
            return draw_over_steps(groups, size)
        case "profiles":
            return draw_profiles(groups, size)
        case "improvement":
            return draw_improvement(groups, drawing.baseline or "", size)
