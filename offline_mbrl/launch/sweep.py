"""Runs the jobs of a sweep on any executor: what waits for what, what is tried again, and what is said of it."""

import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from offline_mbrl.failures import explain
from offline_mbrl.launch.executor import Executor
from offline_mbrl.launch.news import News
from offline_mbrl.launch.plan import make_plan
from offline_mbrl.launch.retries import ASKED_TO_STOP, next_attempt, problem_of
from offline_mbrl.launch.schedule import ready
from offline_mbrl.launch.task import DEFAULT, Ended, Options, Outcome, Task, call, refuse_twins
from offline_mbrl.stopping import at_safe_points, heed_signals, request_stop, stop_here, stop_requested
from offline_mbrl.storage import records
from offline_mbrl.storage.lock import hold_run
from offline_mbrl.training.job import Job, Paths, claim

LOOK_SECONDS = 0.2
"""How long a request to stop may lie."""


@dataclass
class Attempt:
    """A task on its way: its jobs that are run, and how often it was cut off."""

    task: Task
    open: tuple[Job, ...] = ()
    lost: int = 0
    began: float = field(default_factory=time.monotonic)


@dataclass
class Sweep:
    """What a sweep knows while it runs."""

    out: Path
    paths: Paths
    options: Options
    executor: Executor
    news: News
    waiting: list[Task]
    running: dict[Future[Ended], Attempt] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by job's name

    @property
    def unfinished(self) -> set[str]:
        """Names of the tasks that others may have to wait for."""
        return {task.name for task in self.waiting} | {attempt.task.name for attempt in self.running.values()}


def run_jobs(
    jobs: Iterable[Job], out: Path, paths: Paths, executor: Executor, options: Options = DEFAULT
) -> list[Outcome]:
    """Runs every job in `out/<its name>`; finished ones are skipped, half-done ones resumed, failures passed over.

    Returns:
      How each job ended, in the order of `jobs`.

    Raises:
      UserError: a job is there twice.
      Stopped: a signal asked this process, or one of its workers, to stop; every worker was left at a safe point.
    """
    wanted = list(jobs)
    refuse_twins(f"job {job.name}" for job in wanted)
    with heed_signals():
        tasks = make_plan(wanted, out, options, executor.slots)
        sweep = Sweep(out.absolute(), paths, options, executor, News(tasks, len(wanted), executor.slots), tasks)
        with at_safe_points(), _closing(sweep):
            _run(sweep)
        stop_here()
    return [sweep.outcomes[job.name] for job in wanted]


@contextmanager
def _closing(sweep: Sweep) -> Iterator[None]:
    """Lets go of the engine; an error between jobs (a closed terminal) stops the workers, which it then waits for."""
    try:
        yield
    except BaseException:
        request_stop(signal.SIGTERM)
        sweep.executor.stop()
        wait(sweep.running)
        raise
    finally:
        sweep.executor.close()


def _run(sweep: Sweep) -> None:
    stopped = False
    while sweep.running or (sweep.waiting and not stopped):
        if not stopped:
            _start_ready(sweep)
        ended, _ = wait(sweep.running, LOOK_SECONDS, FIRST_COMPLETED)
        for promise in ended:
            _settle(sweep, sweep.running.pop(promise), promise)
        if stop_requested() is not None and not stopped:
            stopped = True
            sweep.executor.stop()


def _start_ready(sweep: Sweep) -> None:
    """Starts what may be started, all in one call: an engine that queues makes one array of it."""
    width = sweep.executor.width
    room = len(sweep.waiting) if width is None else width - len(sweep.running)
    attempts: list[Attempt] = []
    while len(attempts) < room and stop_requested() is None:
        held = sweep.unfinished | {attempt.task.name for attempt in attempts}
        task = next(iter(ready(sweep.waiting, held)), None)
        if task is None:
            break
        sweep.waiting.remove(task)
        attempt = Attempt(task, _claim_all(sweep, task))
        if attempt.open:
            attempts.append(attempt)
        else:
            sweep.news.dropped(task)
    if attempts:
        _submit(sweep, attempts)


def _submit(sweep: Sweep, attempts: Sequence[Attempt]) -> None:
    calls = []
    for attempt in attempts:
        folders = tuple(sweep.out / job.name for job in attempt.open)
        calls.append(call(attempt.task, sweep.paths, sweep.options, folders))
    sweep.running.update(zip(sweep.executor.submit(calls), attempts, strict=True))


def _claim_all(sweep: Sweep, task: Task) -> tuple[Job, ...]:
    """The jobs of a task that are to be run; of the others it is said at once how they ended."""
    claimed = [(job, _claim(job, sweep.out / job.name, quietly=task.fit is not None)) for job in task.jobs]
    for _, outcome in claimed:
        if outcome is not None and task.fit is None:
            _tell(sweep, outcome)
    return tuple(job for job, outcome in claimed if outcome is None)


def _claim(job: Job, folder: Path, quietly: bool) -> Outcome | None:
    """What there is to say of a job before it is run; None where it is to be run, or its fit is to be made."""
    try:
        with hold_run(folder):
            claim(folder, job)
        if records.job_status(folder) == "finished" and not quietly:
            return Outcome(job, folder, problem_of(job, folder, Ended(0)), skipped=True)
    except Exception as error:
        return Outcome(job, folder, explain(error))
    return None


def _settle(sweep: Sweep, attempt: Attempt, promise: Future[Ended]) -> None:
    """Says how an attempt ended, or starts the next one."""
    try:
        ended = promise.result()
    except Exception as error:
        ended = Ended(70, note=explain(error))
    if sweep.executor.hears_signals and ended.code in ASKED_TO_STOP:
        request_stop(ASKED_TO_STOP[ended.code])
    folders = [sweep.out / job.name for job in attempt.open]
    again = None if stop_requested() is not None else next_attempt(attempt.task, folders, ended, attempt.lost)
    if again is not None:
        sweep.news.again(attempt.task, again.reason)
        with suppress(OSError):
            for folder in folders:
                (folder / records.FAILED).unlink(missing_ok=True)
        task = replace(attempt.task, parts=again.parts)
        _submit(sweep, [replace(attempt, task=task, lost=again.lost)])
        return
    sweep.news.ended(attempt.task, time.monotonic() - attempt.began)
    if attempt.task.fit is None:
        for job, folder in zip(attempt.open, folders, strict=True):
            _tell(sweep, Outcome(job, folder, problem_of(job, folder, ended)))


def _tell(sweep: Sweep, outcome: Outcome) -> None:
    sweep.outcomes[outcome.job.name] = outcome
    sweep.news.job(outcome)
