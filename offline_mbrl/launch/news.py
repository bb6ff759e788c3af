"""What a sweep says while it runs: a line for every job that ends, with its score, how far all is, the time left."""

from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from offline_mbrl.errors import UserError
from offline_mbrl.launch.schedule import makespan
from offline_mbrl.launch.task import Outcome, Task
from offline_mbrl.progress import duration
from offline_mbrl.results.status import read_state
from offline_mbrl.storage import records


class News:
    """The lines of a sweep of `jobs` jobs on `slots` slots, on stderr."""

    def __init__(self, tasks: Sequence[Task], jobs: int, slots: int) -> None:
        self._open = {task.name: task for task in tasks}
        self._jobs, self._slots, self._told = jobs, slots, 0
        self._total = sum(task.cost for task in tasks) or 1.0
        self._estimated, self._measured = 0.0, 0.0
        self._console = Console(stderr=True)

    def job(self, outcome: Outcome) -> None:
        """A job is done, or given up."""
        self._told += 1
        verb = "was done before" if outcome.skipped else outcome.problem or "done"
        self._say(f"[{self._told}/{self._jobs}] {outcome.job.name}: {verb}{_score(outcome)}{self._left()}")

    def dropped(self, task: Task) -> None:
        """Nothing of a task is left to do."""
        self._open.pop(task.name, None)
        self._total -= task.cost

    def ended(self, task: Task, seconds: float) -> None:
        """A task came to its end after so many seconds; estimates of the others are corrected by it."""
        self._estimated, self._measured = self._estimated + task.cost, self._measured + seconds
        self._open.pop(task.name, None)
        if task.fit is not None:
            self._say(f"{task.name}: ended after {duration(seconds)}{self._left()}")

    def again(self, task: Task, reason: str) -> None:
        """A task is tried again."""
        self._say(f"{task.name}: {reason}")

    def _left(self) -> str:
        """Share of the work that is done, and the time left: estimates, corrected by what the ended tasks took."""
        rest = list(self._open.values())
        if not rest or not self._estimated:
            return ""
        share = 1 - sum(task.cost for task in rest) / self._total
        seconds = makespan(rest, self._slots) * self._measured / self._estimated
        return f"; {100 * share:.0f} % of the work, about {duration(seconds)} left"

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _score(outcome: Outcome) -> str:
    """The last score of a job that is done."""
    if records.job_status(outcome.folder) != "finished":
        return ""
    with suppress(UserError, OSError):
        state = read_state(outcome.folder)
        return "" if state.score is None else f", score {state.score:.1f}"
    return ""
