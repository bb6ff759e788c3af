"""What the learning curves and the training diagnostics are drawn from, as plain JSON values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from offline_mbrl.results.groups import Group
from offline_mbrl.results.plots import seed_scores
from offline_mbrl.results.report import digits
from offline_mbrl.results.report.gather import Gathered
from offline_mbrl.results.report.sheet import Sheet
from offline_mbrl.storage.records import Record

CURVE_POINTS, METRIC_POINTS = 200, 50
"""Most points of one line; of longer runs they are evenly spread over training."""

PANELS: Mapping[str, tuple[str, ...]] = {
    "Q values": ("q", "target"),
    "Penalty": ("penalty", "uncertainty", "penalty_weight"),
    "Model error": ("model_loss", "model_nll", "reward_error", "model_reward"),
    "Rollout reward": ("rollout_reward", "rollout_reward_min", "rollout_reward_max"),
    "Entropy": ("entropy", "alpha"),
    "Losses": ("critic_loss", "actor_loss", "value_loss", "bc_loss"),
}
"""The diagnostic charts and the metrics that each shows, where a run records them."""


def learning_curves(sheet: Sheet) -> list[dict[str, Any]]:
    """For each group with evaluations its row, its column, steps [n] and scores [n_seeds][n]."""
    row = {name: place for place, name in enumerate(sheet.rows)}
    column = {name: place for place, name in enumerate(sheet.columns)}
    return [
        {"row": row[group.row], "column": column[group.column], "seeds": _seeds(group)} | _points(group)
        for group in sheet.groups
        if _shown(group)
    ]


def diagnostics(sheet: Sheet, gathered: Gathered) -> list[dict[str, Any]]:
    """For each group with metrics its row and column, and for each seed its steps [n] and series [n] by metric."""
    runs = []
    for group in sheet.groups:
        seeds = [_series(curve.seed, gathered.metrics[gathered.job_of(curve).name]) for curve in group.curves]
        recorded = [seed for seed in seeds if seed["series"]]
        if recorded:
            place = {"row": sheet.rows.index(group.row), "column": list(sheet.columns).index(group.column)}
            runs.append(place | {"seeds": recorded})
    return runs


def _shown(group: Group) -> list[Any]:
    """The curves of the seeds that count, or where none does of all that were evaluated."""
    return group.counted or [curve for curve in group.curves if curve.scores]


def _seeds(group: Group) -> str:
    return group.shortfall or digits.plural(len(_shown(group)), "seed")


def _points(group: Group) -> dict[str, Any]:
    steps, scores = seed_scores([curve for curve in _shown(group) if curve.scores])
    kept = digits.thinned(len(steps), CURVE_POINTS)
    return {"at": [int(step) for step in steps[kept]], "scores": [digits.places(seed[kept]) for seed in scores]}


def _series(seed: int, metrics: Sequence[Record]) -> dict[str, Any]:
    own = [record for record in metrics if record.get("seed") == seed]
    kept = [own[place] for place in digits.thinned(len(own), METRIC_POINTS)]
    names = [name for panel in PANELS.values() for name in panel if any(name in record for record in kept)]
    series = {name: digits.rounded(_numbers(record.get(name) for record in kept)) for name in names}
    return {"seed": seed, "at": [record["step"] for record in kept], "series": series}


def _numbers(values: Iterable[object]) -> list[float | None]:
    return [float(value) if isinstance(value, int | float) else None for value in values]
