"""What the learning curves and the training diagnostics are drawn from, as plain JSON values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from offline_mbrl.results.aggregates import scores_at, shared_steps, thinned
from offline_mbrl.results.groups import Group
from offline_mbrl.results.query import Curve
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
    shown = [(group, _shown(group)) for group in sheet.groups]
    return [
        sheet.place(group) | {"seeds": group.seeds_note} | _points(seeds)
        for group, seeds in shown
        if any(seed.scores for seed in seeds)
    ]


def diagnostics(sheet: Sheet, gathered: Gathered) -> list[dict[str, Any]]:
    """For each group with metrics its row and column, and for each seed its steps [n] and series [n] by metric."""
    runs = []
    for group in sheet.groups:
        seeds = [_series(curve.seed, gathered.metrics[gathered.job_of(curve).name]) for curve in group.curves]
        recorded = [seed for seed in seeds if seed["series"]]
        if recorded:
            runs.append(sheet.place(group) | {"seeds": recorded})
    return runs


def _shown(group: Group) -> list[Curve]:
    """The seeds that count, or where none does those that are being trained."""
    return group.counted or [curve for curve in group.curves if curve.scores]


def _points(seeds: Sequence[Curve]) -> dict[str, Any]:
    steps = shared_steps(seeds)
    kept = [steps[place] for place in thinned(len(steps), CURVE_POINTS)]
    return {"at": kept, "scores": [digits.places(scores) for scores in scores_at(seeds, kept)]}


def _series(seed: int, metrics: Sequence[Record]) -> dict[str, Any]:
    own = [record for record in metrics if record.get("seed") == seed]
    kept = [own[place] for place in thinned(len(own), METRIC_POINTS)]
    names = [name for panel in PANELS.values() for name in panel if any(name in record for record in kept)]
    series = {name: digits.rounded(_numbers(record.get(name) for record in kept)) for name in names}
    return {"seed": seed, "at": [record["step"] for record in kept], "series": series}


def _numbers(values: Iterable[object]) -> list[float | None]:
    return [float(value) if isinstance(value, int | float) else None for value in values]
