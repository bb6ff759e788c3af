"""Scores the policies of a finished or half-done run again."""

from functools import partial
from pathlib import Path

import numpy as np
from tabulate import tabulate

from offline_mbrl.errors import UserError
from offline_mbrl.simulation.evaluate import evaluate, reset_seeds
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import Physics, get_task
from offline_mbrl.training.job import Paths, read_job
from offline_mbrl.training.run import open_run
from offline_mbrl.training.saving import CHECKPOINTS


def reevaluate(run: Path, episodes: int, physics: Physics | None, seed: int, paths: Paths) -> str:
    """A table of the last checkpoint's scores, `episodes` for each seed under `physics` (the run's own when None).

    Raises:
      UserError: there is no run or no checkpoint in the folder.
    """
    job = read_job(run)
    robot = get_task(job.task).robot
    opened = open_run(job, run, paths)
    if not opened.step:
        raise UserError(f"{run / CHECKPOINTS} holds no checkpoint yet; train it first")
    simulator = Simulator(robot, len(job.seeds) * episodes, physics or job.physics)
    starts = reset_seeds(job.seeds, 2**31 + seed, episodes)
    episodes_run = evaluate(partial(opened.program.act, opened.program.deploy(opened.state)), simulator, starts)
    scores = robot.normalized_score(episodes_run.returns)
    rows = [
        (seed, row.mean(), row.std(ddof=1) if episodes > 1 else 0.0, row.min(), row.max(), lengths.mean())
        for seed, row, lengths in zip(job.seeds, scores, episodes_run.lengths, strict=True)
    ]
    head = ("seed", "score", "std over episodes", "lowest", "highest", "steps")
    title = f"{job.algorithm} on {job.task}, step {opened.step}, {episodes} episodes, {physics or job.physics}"
    mean = f"mean over seeds: {np.mean(scores.mean(axis=1)):.1f}"
    return f"{title}\n\n{tabulate(rows, headers=head, floatfmt='.1f')}\n\n{mean}"
