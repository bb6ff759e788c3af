"""Pictures of a choice: every estimate against the truth, and the bandit's curve."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offline_mbrl.selection.bandit import Curve
from offline_mbrl.selection.scores import Candidate
from offline_mbrl.storage.files import write_atomically

COLOR = "#0072B2"


def draw(policies: Sequence[Candidate], curve: Curve, path: Path) -> Path:
    """Writes a panel for each estimator and one for the bandit to a PNG; returns `path`."""
    names = list(dict.fromkeys(name for one in policies for name in one.estimates))
    figure = Figure(figsize=(3.4 * (len(names) + 1), 3.2), layout="constrained")
    *panels, last = figure.subplots(1, len(names) + 1, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        draw_estimates(axes, policies, name)
    draw_bandit(last, curve)
    with write_atomically(path) as file:
        figure.savefig(file, format="png", dpi=130)
    return path


def draw_estimates(axes: Axes, policies: Sequence[Candidate], name: str) -> None:
    """One estimator: a dot for each policy that it has a finite estimate for."""
    pairs = [(estimate, one.value) for one in policies if (estimate := one.estimates.get(name)) is not None]
    axes.scatter([estimate for estimate, _ in pairs], [value for _, value in pairs], color=COLOR, s=16)
    axes.set(xlabel=name, ylabel="true discounted value")
    axes.spines[["top", "right"]].set_visible(False)


def draw_bandit(axes: Axes, curve: Curve) -> None:
    """The score of the policy that would be deployed, with its interval."""
    pulls = range(1, len(curve.mean) + 1)
    axes.plot(pulls, curve.mean, color=COLOR)
    axes.fill_between(pulls, curve.low, curve.high, color=COLOR, alpha=0.2, linewidth=0)
    axes.set(xlabel="episodes", ylabel="score of the chosen policy", title="UCB bandit")
    axes.spines[["top", "right"]].set_visible(False)
