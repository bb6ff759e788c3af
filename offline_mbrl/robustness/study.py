"""Measures runs from their folders; what is measured is kept beside the run's scores and not measured again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from offline_mbrl.errors import UserError
from offline_mbrl.nn.precision import acting, computing
from offline_mbrl.progress import progress
from offline_mbrl.robustness.evaluate import Policies, measure
from offline_mbrl.robustness.protocol import Protocol, batches, choose_attacks
from offline_mbrl.robustness.sensors import Floats
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Job, Paths, read_job
from offline_mbrl.training.opening import open_run
from offline_mbrl.training.saving import CHECKPOINTS, last_step
from offline_mbrl.training.system import configured
from offline_mbrl.types import Data

ROBUSTNESS = "robustness.jsonl"
"""The file of a run's folder: a line for each point and seed."""


def study(run: Path, protocol: Protocol, attacks: Sequence[str], paths: Paths) -> int:
    """Measures the run in the folder `run` at the points that are missing, and appends them to its records.

    Args:
      run: a folder that holds a job.
      protocol: what is measured; its attacks are replaced.
      attacks: their names; all that the system can have where there is none.
      paths: of data and fits.

    Returns:
      How many points were missing.

    Raises:
      UserError: there is no run or no policy in the folder, or an attack is unknown or asks critics that are not there.
    """
    job = read_job(run)
    system = configured(job.algorithm, get_task(job.task), job.config, job.steps)
    has_critics = system.algorithm.value is not None
    asked = replace(protocol, attacks=choose_attacks(attacks, has_critics, job.algorithm))
    step = last_step(run, records.job_status(run) == "finished")
    if not step:
        raise UserError(f"{run / CHECKPOINTS} holds no checkpoint yet; train it first")
    done = measured(run, step)
    labels = {asked.label(point) for batch in batches(asked) for point in batch}
    if labels <= done:
        return 0
    count = len(labels & done)
    title = f"robustness {job.algorithm} {job.task}"
    with computing(job.precision), acting(), progress(title, len(labels), count) as tick:
        for batch in measure(open_policies(job, run, paths), asked, done):
            records.append_records(run / ROBUSTNESS, batch)
            count += len({record["variant"] for record in batch})
            tick(count, batch[-1]["kind"])
    return len(labels - done)


def measured(run: Path, step: int) -> frozenset[str]:
    """The labels of the points that were measured after `step` gradient steps."""
    return frozenset(record["variant"] for record in records.read_records(run / ROBUSTNESS) if record["step"] == step)


def open_policies(job: Job, run: Path, paths: Paths) -> Policies:
    """The run's policies as of its last checkpoint, on its own robot and physics."""
    opened = open_run(job, run, paths)
    return Policies(
        algorithm=opened.members[0].system().algorithm,
        act=opened.program.act,
        state=opened.program.deploy(opened.state),
        seeds=job.seeds,
        step=opened.step,
        robot=get_task(job.task).robot,
        physics=job.physics,
        std=observation_std(opened.data),
    )


def observation_std(data: Data) -> Floats:
    """[d] population standard deviation of the observations of the rows that a system trains on."""
    return np.asarray(data.transitions.obs, np.float64).std(axis=0).astype(np.float32)
