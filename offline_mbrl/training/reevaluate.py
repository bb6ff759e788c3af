"""Scores the policies of a finished or half-done run again."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from offline_mbrl.errors import UserError
from offline_mbrl.simulation.evaluate import evaluate, reset_seeds
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.storage.records import diverged_seeds
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
    title = f"{job.algorithm} on {job.task}, step {opened.step}, {episodes} episodes, {physics or job.physics}"
    scores = robot.normalized_score(episodes_run.returns)
    return f"{title}\n\n{score_table(job.seeds, scores, episodes_run.lengths, diverged_seeds(run))}"


def score_table(
    seeds: Sequence[int], scores: NDArray[np.float64], lengths: NDArray[np.int64], diverged: Collection[int]
) -> str:
    """A line for each seed's scores and lengths [S, E], and their mean over the seeds that did not diverge."""
    head = ("seed", "score", "std over episodes", "lowest", "highest", "steps")
    rows = [
        (
            f"{seed} (diverged)" if seed in diverged else seed,
            row.mean(),
            row.std(ddof=1) if row.size > 1 else 0.0,
            row.min(),
            row.max(),
            steps.mean(),
        )
        for seed, row, steps in zip(seeds, scores, lengths, strict=True)
    ]
    sound = [row.mean() for seed, row in zip(seeds, scores, strict=True) if seed not in diverged]
    mean = f"mean over seeds: {np.mean(sound):.1f}" if sound else "no mean"
    left_out = f", without the {len(seeds) - len(sound)} that diverged" if len(sound) < len(seeds) else ""
    return f"{tabulate(rows, headers=head, floatfmt='.1f')}\n\n{mean}{left_out}"
