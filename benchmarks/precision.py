"""Whether learning in `mixed` precision is worse than in float32: the same data and seeds, trained with both.

A seed has the same draws and meets the same starts in both, so scores are compared seed by seed. Rounding alone moves a
seed's trajectory through training, as another seed would: what is compared are means over seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from measure import command
from numpy.typing import NDArray
from tabulate import tabulate

import offline_mbrl as om
from offline_mbrl.nn.precision import computing
from offline_mbrl.precision import Precision
from offline_mbrl.results.intervals import difference, t_interval
from offline_mbrl.results.numbers import Style, signed, with_interval

DIGITS = {"score": 1, "q": 1, "critic_loss": 2}
"""Behind the point, of what is printed; four of errors."""

LAST = 10
"""Evaluations whose mean is a seed's score."""

SMALL: dict[str, dict[str, Any]] = {
    "td3_bc": {"hidden": (128, 128), "batch_size": 128, "actor_lr": 3e-4, "critic_lr": 1e-3, "tau": 0.01},
    "mopo": {
        "hidden": (128, 128),
        "batch_size": 128,
        "actor_lr": 3e-4,
        "critic_lr": 1e-3,
        "temperature_lr": 3e-3,
        "tau": 0.01,
        "rollout_every": 200,
        "rollout_batch": 500,
        "dynamics": {"hidden": (64, 64, 64), "weight_decay": (0.0,) * 4, "batch_size": 64, "max_epochs": 10},
    },
}
"""Settings with which each learns in minutes on a core."""


@dataclass(frozen=True)
class Options:
    """What is trained."""

    systems: tuple[str, ...] = ("td3_bc", "mopo")
    task: str = "hopper-medium-replay"
    size: int = 50_000
    """Rows of builtin data."""
    seeds: int = 8
    steps: int = 20_000
    episodes: int = 5
    precisions: tuple[Precision, Precision] = ("highest", "mixed")
    """The second is compared with the first."""


class Result(NamedTuple):
    """One system trained with one precision."""

    seconds: float
    measures: Mapping[str, NDArray[np.float64]]  # [seeds] by name


def main(options: Options) -> None:
    """Trains and prints a table."""
    data = om.load(options.task, size=options.size)
    about = f"{data.name}, {options.seeds} seeds, {options.steps} steps, {LAST} x {options.episodes} episodes"
    print(f"{about}, {jax.devices()[0].device_kind}, jax {jax.__version__}", flush=True)
    rows = [row for name in options.systems for row in compared(name, options, data)]
    first, second = options.precisions
    heads = ["system", "measure", first, second, f"{second} - {first}, paired"]
    print(tabulate(rows, headers=heads, disable_numparse=True))


def compared(name: str, options: Options, data: om.Dataset) -> Iterator[list[str]]:
    """A line for each measure: means with their 95 % intervals, and that of the difference."""
    first, second = (trained(name, options, data, precision) for precision in options.precisions)
    for measure, before in first.measures.items():
        after, style = second.measures[measure], Style(DIGITS.get(measure, 4))
        about = difference(after, before, paired=True)
        yield [
            name,
            measure,
            *(with_interval(t_interval(each), style) for each in (before, after)),
            signed(about, style),
        ]
    yield [name, "seconds", f"{first.seconds:.0f}", f"{second.seconds:.0f}", ""]


def trained(name: str, options: Options, data: om.Dataset, precision: Precision) -> Result:
    """A seed's score, its critic at the end, and its model's error on held-out rows where it has a model."""
    system, seeds, began = (
        om.make(name, data.task, steps=options.steps, **SMALL[name]),
        range(options.seeds),
        perf_counter(),
    )
    with computing(precision):
        fitted = om.pretrain(system, data, seeds=seeds)
        run = om.train(
            system, data, fitted, seeds=seeds, evaluate_every=options.steps // (2 * LAST), episodes=options.episodes
        )
    last = run.metrics[-len(seeds) :]
    critic = {metric: np.array([record[metric] for record in last]) for metric in ("q", "critic_loss")}
    scores = np.array([record["score"] for record in run.scores]).reshape(-1, len(seeds))[-LAST:].mean(axis=0)
    error = {f"holdout mse, {part}": np.asarray(fit.holdout_mse).mean(axis=1) for part, fit in fitted.results.items()}
    return Result(perf_counter() - began, {"score": scores, **critic, **error})


if __name__ == "__main__":
    command(main, tyro.cli(Options, description=__doc__))
