"""Pictures of one record of model error: errors over the horizon, the reliability diagram, the penalties."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offline_mbrl.storage.files import write_atomically

COLORS = {"data": "#0072B2", "policy": "#009E73", "random": "#D55E00"}
"""Of Okabe and Ito's palette."""


def draw(record: dict[str, Any], path: Path) -> Path:
    """Writes the three panels of a record to a PNG; returns `path`."""
    figure = Figure(figsize=(13.5, 3.8), layout="constrained")
    panels: list[Callable[[Axes, dict[str, Any]], None]] = [draw_errors, draw_reliability, draw_penalties]
    for axes, panel in zip(figure.subplots(1, 3), panels, strict=True):
        panel(axes, record["actions"])
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{record['about']['data']}, seed {record['about']['seed']}: {record['starts']} held-out starts")
    with write_atomically(path) as file:
        figure.savefig(file, format="png", dpi=130)
    return path


def draw_errors(axes: Axes, actions: dict[str, Any]) -> None:
    """Median error of the mean (line) and of samples (dashes) after h steps."""
    for way, found in actions.items():
        for kind, style in (("mean", "-"), ("samples", "--")):
            errors = found["open_loop"][kind]["state"]["median"]
            numbers = [float("nan") if error is None else error for error in errors]
            axes.plot(range(1, len(errors) + 1), numbers, style, color=COLORS[way], label=f"{way}, {kind}")
    axes.set(xlabel="steps h", ylabel="median error, deviations of the data", yscale="log", title="open-loop error")
    axes.legend(frameon=False, fontsize=8)


def draw_reliability(axes: Axes, actions: dict[str, Any]) -> None:
    """Observed against nominal coverage: the mixture, and on data actions every member."""
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for member in actions["data"]["calibration"]["members"]:
        axes.plot(actions["data"]["calibration"]["nominal"], member, color="0.8", linewidth=0.8)
    for way, found in actions.items():
        axes.plot(found["calibration"]["nominal"], found["calibration"]["mixture"], color=COLORS[way], label=way)
    axes.set(xlabel="nominal coverage", ylabel="observed", title="reliability one step ahead (gray: members)")
    axes.legend(frameon=False, fontsize=8)


def draw_penalties(axes: Axes, actions: dict[str, Any]) -> None:
    """Every penalty's rank correlation with the true error, with its interval."""
    names = list(actions["data"]["penalties"])
    for place, (way, found) in enumerate(actions.items()):
        known = [(row, found["penalties"][name]) for row, name in enumerate(names)]
        drawn = [(row + 0.2 * (place - 1), one) for row, one in known if one["value"] is not None]
        values = [one["value"] for _, one in drawn]
        spread = [[one["value"] - one["low"] for _, one in drawn], [one["high"] - one["value"] for _, one in drawn]]
        axes.errorbar(values, [row for row, _ in drawn], xerr=spread, fmt="o", color=COLORS[way], label=way, ms=4)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="Spearman's correlation with the true error", title="penalties")
    axes.axvline(0, color="0.6", linewidth=1)
    axes.legend(frameon=False, fontsize=8)
