"""How long a sweep takes on many slots: makespans simulated from job costs, by number of slots and by rate of failures.

A slot runs one program at a time, the longest waiting first, as `sweep` does; fits come before what needs them. A slot
fails at random: the job goes on from its last checkpoint. The running jobs share one storage evenly; a job whose
checkpoint takes longer to write than the time between two of them waits for it.

Costs of algorithms are those of `offline_mbrl.launch.cost`, measured on two CPU cores in units of a SAC step; how many
SAC steps a second a slot makes is said by --steps-per-second. No figure of a GPU is measured here.
"""

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from tabulate import tabulate

from offline_mbrl.launch.cost import FIT_SECONDS, START_SECONDS, UNITS, UPDATES_PER_SECOND
from offline_mbrl.stopping import SAVE_EVERY

MODEL_BASED = ("mopo", "morel", "rambo", "mobile", "micro", "combo", "crop", "armor")
TASKS = 12
CHECKPOINT_BYTES = 135e6
"""Of one seed of a system that keeps imagined rows, its ring included; a twentieth of it for the others."""


class Work(NamedTuple):
    """One program of a sweep."""

    seconds: float
    needs: int | None  # the task whose fit has to be there first
    checkpoint: float = 0.0  # bytes


@dataclass(frozen=True)
class Options:
    """What is simulated."""

    slots: tuple[int, ...] = (1, 8, 32, 100)
    """programs at once"""
    failures: tuple[float, ...] = (0.0, 0.01, 0.1)
    """of a slot, per hour"""
    seeds: int = 10
    """of each system and task"""
    seeds_per_program: int = 10
    """of them, side by side in one program"""
    steps: int = 1_000_000
    """gradient steps of a job"""
    steps_per_second: float = UPDATES_PER_SECOND
    """SAC steps that a slot makes a second, over all seeds"""
    fit_speedup: float = 1.0
    """how much faster a fit is than on two CPU cores"""
    storage: float = 500e6
    """bytes a second that the shared storage takes"""
    draws: int = 20
    """simulations with failures, of which the mean is shown"""
    json: Path | None = None
    """where the numbers go"""
    plot: Path | None = None
    """where the picture goes"""


def work_of(options: Options) -> tuple[list[float], list[Work]]:
    """Seconds of the fit of each task, and the programs: every system on every task."""
    fit = START_SECONDS + FIT_SECONDS * options.seeds / options.fit_speedup
    programs_of_one = -(-options.seeds // options.seeds_per_program)
    lanes = [len(part) for part in np.array_split(np.arange(options.seeds), programs_of_one)]
    programs = []
    for name, units in UNITS.items():
        imagines = name in MODEL_BASED
        for task in range(TASKS):
            for count in lanes:
                seconds = START_SECONDS + units / options.steps_per_second * options.steps * count
                written = count * CHECKPOINT_BYTES * (1.0 if imagines else 0.05)
                programs.append(Work(seconds, task if imagines else None, written))
    return [fit] * TASKS, programs


def makespan(
    fits: Sequence[float],
    programs: Sequence[Work],
    slots: int,
    failures_per_hour: float = 0.0,
    storage: float = np.inf,
    rng: np.random.Generator | None = None,
) -> float:
    """Seconds until all is done, by list scheduling: whenever a slot is free it takes the longest work that may begin.

    Args:
      fits: seconds of each task's fit.
      programs: what is trained.
      slots: how many run at once.
      failures_per_hour: of a slot; each costs what was done since the last checkpoint, half of the interval on
        average, and a new start.
      storage: bytes a second that all checkpoints together may take.
      rng: of the failures.
    """
    share = storage / min(slots, max(1, len(programs)))
    seconds = [work.seconds * max(1.0, work.checkpoint / share / SAVE_EVERY) for work in programs] + list(fits)
    ready: list[tuple[float, int]] = []  # (-seconds, number): longest first
    waiting: dict[int, list[int]] = {}
    for number, work in enumerate(programs):
        waiting.setdefault(work.needs, []).append(number) if work.needs is not None else heapq.heappush(
            ready, (-seconds[number], number)
        )
    # A fit is as urgent as the longest program that waits for it.
    for task in range(len(fits)):
        behind = max((seconds[number] for number in waiting.get(task, [])), default=0.0)
        heapq.heappush(ready, (-(fits[task] + behind), len(programs) + task))
    running: list[tuple[float, int]] = []
    now, free = 0.0, slots
    while ready or running:
        while ready and free:
            _, number = heapq.heappop(ready)
            lost = _lost(seconds[number], failures_per_hour, rng)
            heapq.heappush(running, (now + seconds[number] + lost, number))
            free -= 1
        now, number = heapq.heappop(running)
        free += 1
        for behind in waiting.pop(number - len(programs), []) if number >= len(programs) else []:
            heapq.heappush(ready, (-seconds[behind], behind))
    return now


def _lost(seconds: float, failures_per_hour: float, rng: np.random.Generator | None) -> float:
    if not failures_per_hour or rng is None:
        return 0.0
    return float(rng.poisson(failures_per_hour * seconds / 3600) * (START_SECONDS + SAVE_EVERY / 2))


def simulate(options: Options) -> list[dict[str, float]]:
    """A row for each number of slots and rate of failures."""
    fits, programs = work_of(options)
    total = sum(fits) + sum(work.seconds for work in programs)
    rows = []
    for slots in options.slots:
        for rate in options.failures:
            rng = np.random.default_rng(0)
            draws = options.draws if rate else 1
            spans = [makespan(fits, programs, slots, rate, options.storage, rng) for _ in range(draws)]
            hours = float(np.mean(spans)) / 3600
            rows.append(
                {"slots": slots, "failures_per_hour": rate, "hours": hours, "busy": total / 3600 / slots / hours}
            )
    return rows


def draw(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Makespan against slots, a line for each rate of failures, and what a perfect split would take."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    first = min(rows, key=lambda row: (row["slots"], row["failures_per_hour"]))
    slots = sorted({row["slots"] for row in rows})
    perfect = [first["hours"] * first["busy"] * first["slots"] / count for count in slots]
    axes.loglog(slots, perfect, color="0.6", linestyle="--", label="split evenly")
    for rate in sorted({row["failures_per_hour"] for row in rows}):
        own = [row for row in rows if row["failures_per_hour"] == rate]
        axes.loglog(
            [row["slots"] for row in own], [row["hours"] for row in own], marker="o", label=f"{rate:g} failures/h"
        )
    axes.set(xlabel="slots", ylabel="hours", title="15 systems × 12 tasks")
    axes.legend()
    figure.savefig(path, dpi=150)


def main(options: Options) -> None:
    """Prints the table; writes JSON and a picture where they are asked for."""
    rows = simulate(options)
    print(
        f"15 systems x {TASKS} tasks x {options.seeds} seeds, {options.seeds_per_program} in a program;\n"
        f"{options.steps:,} steps, {options.steps_per_second:g} SAC steps/s a slot, "
        f"storage {options.storage / 1e6:g} MB/s\n"
    )
    table = [(row["slots"], row["failures_per_hour"], row["hours"], 100 * row["busy"]) for row in rows]
    print(tabulate(table, headers=("slots", "failures/h", "hours", "busy %"), floatfmt=("", "g", ".1f", ".0f")))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.plot:
        draw(rows, options.plot)


if __name__ == "__main__":
    main(tyro.cli(Options))
