"""How long a sweep of every system on every task takes, by number of slots: a simulation from measured costs.

    python benchmarks/sweep_simulation.py --picture docs/guide/scale.png

Tasks, what waits for what, and their order are those of a real sweep (`launch/plan.py`), and so is the rule by which
slots take them (`launch/schedule.py`); nothing is trained. Costs are the rates below times the published lengths.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure
from pictures import label_axes, save
from tabulate import tabulate

from offline_mbrl.algorithms.registry import definitions
from offline_mbrl.data.builtin.recipe import full_size
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.launch.cost import UNITS, UPDATES, RateByLanes, rate
from offline_mbrl.launch.plan import make_plan
from offline_mbrl.launch.schedule import makespan
from offline_mbrl.launch.task import Options, Task
from offline_mbrl.pretraining.fit import result_shape
from offline_mbrl.results.figure_style import PALETTE
from offline_mbrl.tasks import TASKS, get_task
from offline_mbrl.training.experiment import lane_keys
from offline_mbrl.training.job import Job, make_job
from offline_mbrl.training.loop import compile_lanes
from offline_mbrl.training.system import make_system


@dataclass(frozen=True)
class Slot:
    """What one program at a time runs on, as measured (hopper, MOPO with its rollouts, ensembles of 7 x 4 x 200)."""

    name: str
    updates: RateByLanes
    fit_steps: RateByLanes
    control_steps: float  # of evaluation, a second, on the slot's share of cores


SLOTS = {
    "cores": Slot("two cores of an AMD EPYC", {1: 249.0, 4: 221.0}, {1: 148.0, 4: 129.0}, 17_400.0),
    # The rates of this package's loop as it was prototyped; evaluation is that of eight cores, four times that of two.
    "gpu": Slot(
        "one NVIDIA H200 and eight cores",
        UPDATES,
        {1: 6_829.0, 4: 18_942.0, 16: 25_816.0, 32: 28_045.0},
        4 * 17_400.0,
    ),
}

EPOCHS = 50
"""Of an ensemble's fit, as early stopping leaves them on a million rows."""

FIT_BATCH = 256
COMPILE_SECONDS = {"mopo": 7.8, "morel": 7.7, "rambo": 10.8, "crop": 14.9, "combo": 9.1, "mobile": 15.5, "armor": 10.2}
COMPILE_SECONDS |= {
    "micro": 15.1,
    "bc": 1.5,
    "td3_bc": 4.1,
    "iql": 4.8,
    "atac": 5.6,
    "drop": 6.7,
    "cql": 6.0,
    "edac": 4.9,
}
START_SECONDS = 10.0
"""An interpreter, JAX, and the data read from the cache."""

STEPS_OF_EPISODE = {"hopper": 600.0, "walker2d": 900.0, "halfcheetah": 1000.0}
"""Control steps of an evaluation's episode; those of robots that fall are shorter."""

ENGINE_SECONDS = {"local": 0.0, "ray": 0.01, "slurm": 4.0}
"""What an executor adds to each task (`benchmarks/executors.py`)."""

SAVE_SECONDS = 60.0
RESTART_SECONDS = 30.0
"""A lost worker's next attempt: noticed, started, compiled from the cache, restored."""


def make_jobs(seeds: int, seeds_per_job: int) -> list[Job]:
    """Every system on every task with its published length."""
    blocks = [tuple(range(first, min(first + seeds_per_job, seeds))) for first in range(0, seeds, seeds_per_job)]
    return [make_job(name, task, seeds=block) for name in definitions() for task in TASKS for block in blocks]


def priced(task: Task, slot: Slot, engine: str) -> Task:
    """A task with what it costs on `slot`."""
    seconds = fit_seconds(task, slot) if task.fit else sum(train_seconds(job, slot) for job in task.jobs)
    return replace(task, cost=START_SECONDS + ENGINE_SECONDS[engine] + seconds)


def fit_seconds(task: Task, slot: Slot) -> float:
    """Epochs over the task's rows, all seeds side by side."""
    job = task.jobs[0]
    steps = EPOCHS * full_size(get_task(job.task)) / FIT_BATCH
    return COMPILE_SECONDS["mopo"] + steps * len(job.seeds) / rate(slot.fit_steps, len(job.seeds))


def train_seconds(job: Job, slot: Slot) -> float:
    """Gradient steps at the system's own cost, and the evaluations between them."""
    seeds, robot = len(job.seeds), get_task(job.task).robot.name
    steps = job.steps * seeds * UNITS[job.algorithm] / rate(slot.updates, seeds)
    played = job.steps / job.evaluate_every * job.episodes * seeds * STEPS_OF_EPISODE[robot]
    return COMPILE_SECONDS[job.algorithm] + steps + played / slot.control_steps


def with_failures(tasks: Iterable[Task], per_day: float, draws: np.random.Generator) -> list[Task]:
    """Tasks with what failures cost them: work since the last checkpoint, uniformly spread, and a restart.

    `per_day` workers are lost on each slot in a day of work, independently of each other (Poisson).
    """
    longer = []
    for task in tasks:
        count = draws.poisson(per_day * task.cost / 86_400)
        lost = draws.uniform(0, min(SAVE_SECONDS, task.cost), count).sum() + count * RESTART_SECONDS
        longer.append(replace(task, cost=task.cost + float(lost)))
    return longer


def hours(tasks: Sequence[Task], slots: int, per_day: float = 0.0, repeats: int = 5) -> float:
    """Mean hours until all is done."""
    draws = np.random.default_rng(0)
    times = [makespan(with_failures(tasks, per_day, draws), slots) for _ in range(repeats if per_day else 1)]
    return float(np.mean(times)) / 3600


def by_slots(plans: Mapping[str, Sequence[Task]], slots: Sequence[int]) -> str:
    """Hours by number of slots, and how much of the slots' time is work."""
    rows = []
    for count in slots:
        row: list[object] = [count]
        for tasks in plans.values():
            took, work = hours(tasks, count), sum(task.cost for task in tasks) / 3600
            row += [took, 100 * work / (count * took)]
        rows.append(row)
    head = ["slots", *(text for name in plans for text in (f"{name}, h", "busy, %"))]
    return tabulate(rows, head, tablefmt="github", floatfmt=(",.0f", *([",.1f", ".0f"] * len(plans))))


def by_failures(tasks: Sequence[Task], slots: Sequence[int], failures: Sequence[float]) -> str:
    """Hours by number of slots and workers lost a day."""
    rows = [[count, *(hours(tasks, count, per_day) for per_day in failures)] for count in slots]
    return tabulate(rows, ["slots", *(f"{one:g} a day" for one in failures)], tablefmt="github", floatfmt=",.1f")


def by_kind(tasks: Sequence[Task]) -> str:
    """Where the work is: fits, and every system's jobs."""
    work: dict[str, list[float]] = {}
    for task in tasks:
        work.setdefault("fits" if task.fit else task.jobs[0].algorithm, []).append(task.cost / 3600)
    rows = [
        [name, len(costs), sum(costs), max(costs)] for name, costs in sorted(work.items(), key=lambda one: -sum(one[1]))
    ]
    return tabulate(rows, ["", "programs", "all, h", "longest, h"], tablefmt="github", floatfmt=",.1f")


def state_bytes(algorithm: str) -> int:
    """Bytes of one seed's state in training, which a checkpoint writes; shapes alone, nothing is computed."""
    task = get_task("halfcheetah-medium")
    system = make_system(algorithm, task)
    data = system.rows(synthetic(task, 300))
    fits = {name: result_shape(pretraining, data, 1) for name, pretraining in system.pretraining.items()}
    program = compile_lanes(system.build, {}, 5000)
    state = jax.eval_shape(program.init, lane_keys([0], "init"), data, fits)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def written(task: Task, sizes: Mapping[str, int]) -> int:
    """Bytes of a checkpoint of all jobs of a task; a fit saves little."""
    return 0 if task.fit else sum(sizes[job.algorithm] * len(job.seeds) for job in task.jobs)


def with_storage(tasks: Sequence[Task], sizes: Mapping[str, int], share: float) -> list[Task]:
    """Tasks where each has `share` bytes a second of the storage.

    A checkpoint is written beside the training, which waits only where that takes longer than the time between two.
    """
    return [replace(one, cost=one.cost * max(1.0, written(one, sizes) / share / SAVE_SECONDS)) for one in tasks]


def by_storage(tasks: Sequence[Task], slots: Sequence[int], rates: Sequence[float]) -> str:
    """What checkpoints ask of the shared storage while all slots are busy, and hours where it gives less."""
    sizes = {name: state_bytes(name) for name in {job.algorithm for task in tasks for job in task.jobs}}
    costs = [task.cost for task in tasks]
    mean = float(np.average([written(task, sizes) for task in tasks], weights=costs)) / SAVE_SECONDS
    rows = []
    for count in slots:
        busy = min(count, len(tasks))
        slowed = (hours(with_storage(tasks, sizes, one * 1e9 / busy), count) for one in rates)
        rows.append([count, busy * mean / 1e9, *slowed])
    head = ["slots", "asked, GB/s", *(f"h with {one:g} GB/s" for one in rates)]
    return tabulate(rows, head, tablefmt="github", floatfmt=(",.0f", ",.2f", *([",.1f"] * len(rates))))


def draw(curves: Mapping[str, Sequence[tuple[int, float]]], title: str, path: Path) -> None:
    """Hours over slots."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, points), color in zip(curves.items(), PALETTE, strict=False):
        axes.plot(*zip(*points, strict=True), "o-", ms=3, lw=1.2, color=color, label=name)
    label_axes(axes, "slots", "hours")
    axes.set_title(title, fontsize=9)
    axes.legend(frameon=False, fontsize=7)
    save(figure, path)


def main(
    slot: str = "gpu",
    seeds: int = 10,
    blocks: tuple[int, ...] = (10, 5, 1),
    slots: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 100, 256),
    failures: tuple[float, ...] = (0.0, 1.0, 24.0, 240.0),
    storage: tuple[float, ...] = (0.1, 0.5, 2.0),
    engine: str = "local",
    picture: Path | None = None,
) -> None:
    """Prints the tables, and draws the picture.

    Args:
      slot: what a program runs on, gpu or cores.
      seeds: of every system on every task.
      blocks: seeds of one program, for each a column; failures and storage are simulated for the first.
      slots: programs at a time.
      failures: workers lost in a day of a slot's work.
      storage: GB/s that the shared storage takes from all slots together.
      engine: whose overhead is added to each task: local, ray or slurm.
      picture: where to draw hours over slots.
    """
    plans = {}
    for block in blocks:
        plan = make_plan(make_jobs(seeds, block), Path("none"), Options(lanes=False), 1)
        plans[f"{block} seeds a program" if block > 1 else "1 seed a program"] = [
            priced(task, SLOTS[slot], engine) for task in plan
        ]
    first = next(iter(plans.values()))
    work = sum(task.cost for task in first) / 3600
    print(f"Slot: {SLOTS[slot].name}; engine: {engine}; {len(first)} tasks of {work:,.0f} h\n")
    print(by_kind(first), by_slots(plans, slots), by_failures(first, slots, failures), sep="\n\n")
    print("\n" + by_storage(first, slots, storage))
    if picture:
        curves = {name: [(count, hours(tasks, count)) for count in slots] for name, tasks in plans.items()}
        curves["all slots busy"] = [(count, work / count) for count in slots]
        draw(curves, f"{len(first)} tasks on slots of {SLOTS[slot].name}", picture)


if __name__ == "__main__":
    tyro.cli(main)
