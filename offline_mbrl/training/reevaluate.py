"""Scores the policies of a run again, or one that was taken away; neither needs the data it was trained on."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from offline_mbrl.errors import UserError
from offline_mbrl.nn.plain import Policy, read_policy_file
from offline_mbrl.simulation.evaluate import Policy as BatchedPolicy
from offline_mbrl.simulation.evaluate import evaluate, reset_seeds
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.storage.records import append_records, diverged_seeds
from offline_mbrl.tasks import Physics, get_task
from offline_mbrl.training.export import export_policies, own_variant
from offline_mbrl.training.job import Job, Paths, read_job
from offline_mbrl.training.opening import open_run
from offline_mbrl.training.saving import CHECKPOINTS

EVALUATIONS = "evaluations.jsonl"
"""Where later evaluations are recorded: in a run's folder, or beside a policy's file after its name."""

Floats = NDArray[np.float32]


class Judged(NamedTuple):
    """What is evaluated: the policies of some seeds as one, and what is known of them."""

    policy: BatchedPolicy
    algorithm: str
    task: str
    seeds: Sequence[int]
    physics: Physics
    step: int
    diverged: Collection[int]
    record: Path


def reevaluate(run: Path, episodes: int, physics: Physics | None, seed: int, paths: Paths) -> str:
    """A table of the last checkpoint's scores, `episodes` for each seed under `physics` (the run's own when None).

    The result is appended to the run's `evaluations.jsonl`, or to that of the policy's file.

    Args:
      run: a run's folder, or a file that `export --policy` wrote.
      episodes: for each seed.
      physics: that of the run when None.
      seed: of the starts.
      paths: where data are, for the systems that search as they act.

    Raises:
      UserError: there is no run, no checkpoint in its folder, or no policy in the file.
    """
    judged = _open_file(run) if run.is_file() else _open_run(run, paths)
    robot, chosen = get_task(judged.task).robot, physics or judged.physics
    simulator = Simulator(robot, len(judged.seeds) * episodes, chosen)
    played = evaluate(judged.policy, simulator, reset_seeds(judged.seeds, 2**31 + seed, episodes))
    scores = robot.normalized_score(played.returns)
    about = {"step": judged.step, "physics": chosen, "episodes": episodes, "starts": seed, "at": _now()}
    rows = zip(judged.seeds, played.returns, scores, strict=True)
    append_records(
        judged.record,
        [about | {"seed": own, "returns": returns, "score": row.mean()} for own, returns, row in rows],
    )
    title = f"{judged.algorithm} on {judged.task}, step {judged.step}, {episodes} episodes, {chosen}"
    table = score_table(judged.seeds, scores, played.lengths, judged.diverged)
    return f"{title}\n\n{table}\n\nrecorded in {judged.record}"


def _open_file(path: Path) -> Judged:
    policy = read_policy_file(path)
    about, record = policy.about, path.with_suffix(f".{EVALUATIONS}")
    diverged = {about["seed"]} if about["diverged"] else set()
    return Judged(
        together([policy]),
        about["algorithm"],
        about["task"],
        [about["seed"]],
        about["physics"],
        about["step"],
        diverged,
        record,
    )


def _open_run(run: Path, paths: Paths) -> Judged:
    job = read_job(run)
    policies = list(export_policies(run).values())
    own, step = own_variant(job, policies[0]), int(next(iter(policies[0].values())).about["step"])
    plain = own in policies[0]
    policy = together([variants[own] for variants in policies]) if plain else _searching(job, run, paths)
    return Judged(policy, job.algorithm, job.task, job.seeds, job.physics, step, diverged_seeds(run), run / EVALUATIONS)


def _searching(job: Job, run: Path, paths: Paths) -> BatchedPolicy:
    """The policies of a system that computes as it acts, by its own program, whose shapes need the data."""
    opened = open_run(job, run, paths)
    if not opened.step:
        raise UserError(f"{run / CHECKPOINTS} holds no checkpoint yet; train it first")
    return partial(opened.program.act, opened.program.deploy(opened.state))


def together(policies: Sequence[Policy]) -> BatchedPolicy:
    """Policies of S seeds as one on observations [S, E, d]."""
    return lambda obs: np.stack([policy(rows) for policy, rows in zip(policies, obs, strict=True)])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
