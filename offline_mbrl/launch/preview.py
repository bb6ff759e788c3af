"""What a sweep would do: its tasks in order, what is estimated of each, and how long all take."""

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from offline_mbrl.launch.plan import make_plan
from offline_mbrl.launch.schedule import makespan
from offline_mbrl.launch.task import Options, Task
from offline_mbrl.progress import duration
from offline_mbrl.results.report.digits import plural
from offline_mbrl.storage import records
from offline_mbrl.training.job import Job

HEAD = ("order", "job", "seeds", "steps", "state", "cost", "memory")


def preview(jobs: Sequence[Job], out: Path, options: Options, slots: int) -> str:
    """A line for each job and shared fit, in the order in which they are started, and one over all."""
    tasks = make_plan(jobs, out, options, slots)
    rows = [row for place, task in enumerate(tasks, 1) for row in _rows(place, task, out)]
    left = [task for task in tasks if task.fit or any(_state(job, out) != "finished" for job in task.jobs)]
    fits = sum(task.fit is not None for task in left)
    work = sum(task.cost for task in left)
    total = (
        f"{plural(len(jobs), 'job')} in {plural(len(tasks) - sum(task.fit is not None for task in tasks), 'program')}, "
        f"{plural(fits, 'shared fit')}; about {duration(work)} of work, {duration(makespan(left, slots))} on "
        f"{plural(slots, 'slot')} (estimates from measured rates where jobs like these are finished)"
    )
    return f"{tabulate(rows, HEAD, stralign='left', colalign=('right', 'left', 'right', 'right'))}\n\n{total}"


def _rows(place: int, task: Task, out: Path) -> list[tuple[object, ...]]:
    """The jobs of one program share its place, cost and memory, which stand in the first line."""
    costs = (duration(task.cost), f"{task.memory / 2**30:.1f} GiB")
    if task.fit:
        return [(place, task.name, len(task.jobs[0].seeds), "", "", *costs)]
    return [
        (place if row == 0 else "", job.name, len(job.seeds), f"{job.steps:,}", _state(job, out))
        + (costs if row == 0 else ("", ""))
        for row, job in enumerate(task.jobs)
    ]


def _state(job: Job, out: Path) -> str:
    folder = out / job.name
    return records.job_status(folder) if folder.exists() else "new"
