"""Runs workers as jobs of a Slurm site, through submitit: arrays that the site's queue paces.

A job that reaches its time limit, or has to make room for others, is asked to stop at a safe point and put back into
the queue; it goes on from its checkpoint. So a limit may be much shorter than a run. The sweep watches the queue: a job
that left it without a result was lost, and is submitted again.
"""

import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offline_mbrl.errors import UserError
from offline_mbrl.launch.executor import UNKNOWN_SLOTS, Executor
from offline_mbrl.launch.process import local_cache, missing_folder, run_worker
from offline_mbrl.launch.slurm_queue import Queue
from offline_mbrl.launch.task import Call, Ended
from offline_mbrl.stopping import GENTLE

SIGNAL_SECONDS = 90
"""How long before its time limit a job is asked to stop, unless `signal_delay_s` says otherwise."""

RESERVE_SECONDS = 10
"""What putting a job back into the queue may take of that."""

KILL_SECONDS = 60.0
"""How long a job whose worker was stopped from outside waits for Slurm to end or requeue it."""

ARRAY_FILES = ".slurm"
"""Where scripts, logs and results of the jobs lie, in the sweep's folder."""


@dataclass(frozen=True)
class SlurmOptions:
    """What is asked of a Slurm site for every job."""

    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    time_limit: int = 60  # minutes; a job that needs longer is requeued and goes on
    more: tuple[tuple[str, Any], ...] = ()  # other options of sbatch, such as ("gres", "gpu:1")


@dataclass
class Carrier:
    """What a Slurm job runs; submitit asks it for a `checkpoint` when time is up."""

    stop_file: str
    patience: float  # seconds that a worker has to reach a safe point when time is up
    _child: int | None = None

    def __call__(self, call: Call) -> Ended:
        """Runs the worker to its end."""
        stop = Path(self.stop_file)
        if stop.exists():
            return Ended(128 + GENTLE, note="not started")
        missing = missing_folder(call)
        if missing:
            return missing
        ended = run_worker(call, stop.exists, environment=local_cache(), started=self._note)
        if ended.code in (128 + signal.SIGTERM, -signal.SIGTERM) and not stop.exists():
            time.sleep(KILL_SECONDS)  # Slurm has told the worker first: it will end or requeue this job
        return ended

    def checkpoint(self, call: Call) -> Any:
        """Has the worker stop at a safe point, and gives what goes on with it."""
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            _stop_child(self._child, self.patience)
        return DelayedSubmission(Carrier(self.stop_file, self.patience), call)

    def _note(self, child: int) -> None:
        self._child = child


def slurm_executor(options: SlurmOptions, out: Path, parallel: int | None = None) -> Executor:
    """The site that this machine submits to.

    Args:
      options: what is asked for every job.
      out: the sweep's folder, on storage that all nodes share.
      parallel: jobs at a time at most; as many as the site lets run when None.

    Raises:
      UserError: submitit is not installed, there is no Slurm here, or an option is wrong.
    """
    site = _site(options, out, parallel)
    stop_file = out / f".stop-{secrets.token_hex(4)}"
    patience = _signal_delay(options) - RESERVE_SECONDS
    queue = Queue()

    def submit(calls: Sequence[Call]) -> list[Future[Ended]]:
        try:
            with site.batch():
                jobs = [site.submit(Carrier(str(stop_file), patience), call) for call in calls]
        except Exception as error:  # sbatch's own words say what the site did not like
            return [_refused(error) for _ in calls]
        return [queue.watch(job.job_id, job.paths.result_pickle) for job in jobs]

    def stop() -> None:
        stop_file.parent.mkdir(parents=True, exist_ok=True)
        stop_file.touch()
        queue.cancel_waiting()

    def close() -> None:
        queue.close()
        stop_file.unlink(missing_ok=True)

    return Executor("slurm", submit, parallel or UNKNOWN_SLOTS, queues=True, stop=stop, close=close)


def script(options: SlurmOptions, out: Path, parallel: int | None, jobs: int) -> str:
    """The sbatch script of an array of `jobs` jobs."""
    site = _site(options, out, parallel)
    if jobs > 1:
        site.parameters["map_count"] = jobs
    return str(site._make_submission_file_text(site._submitit_command_str, "")) + "\n"


def _site(options: SlurmOptions, out: Path, parallel: int | None) -> Any:
    """submitit's executor."""
    try:
        from submitit.slurm import slurm
    except ImportError:
        raise UserError("--executor slurm needs submitit; pip install 'offline-mbrl[slurm]'") from None
    try:
        site = slurm.SlurmExecutor(out.resolve() / ARRAY_FILES / "%j", max_num_timeout=10_000)
    except RuntimeError:
        raise UserError("there is no srun on this machine; run the sweep where you submit Slurm jobs") from None
    site.update_parameters(**_parameters(options, parallel, slurm._get_default_parameters()))
    return site


def _parameters(options: SlurmOptions, parallel: int | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of submitit; what it does not know is an option of sbatch."""
    own = {"partition": options.partition, "account": options.account, "constraint": options.constraint}
    named: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    named |= {"time": options.time_limit, "job_name": "offline-mbrl"} | (
        {"array_parallelism": parallel} if parallel else {}
    )
    more = {name.lstrip("-").replace("-", "_"): value for name, value in options.more}
    others = {name.replace("_", "-"): value for name, value in more.items() if name not in known}
    return (
        named
        | {name: value for name, value in more.items() if name in known}
        | {
            "additional_parameters": {"requeue": True} | others  # a job whose node is lost goes back into the queue
        }
    )


def _signal_delay(options: SlurmOptions) -> float:
    return float(dict(options.more).get("signal_delay_s", SIGNAL_SECONDS))


def _refused(error: Exception) -> Future[Ended]:
    promise: Future[Ended] = Future()
    text = getattr(error, "stderr", None) or str(error)
    said = " ".join((text.decode() if isinstance(text, bytes) else text).split()[-40:])
    promise.set_result(Ended(2, note=f"Slurm did not take the job: {said}"))
    return promise


def _stop_child(child: int, patience: float) -> None:
    """Asks the process to stop and waits; without fetching it, which the code that was interrupted does."""
    with suppress(ProcessLookupError):
        os.kill(child, GENTLE)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
        except ChildProcessError:
            return
        time.sleep(0.1)
