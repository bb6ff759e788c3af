"""The episodes that a bandit draws from: those that training stored, and those that estimates were judged by."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offline_mbrl.selection.candidates import stored_returns
from offline_mbrl.selection.study import FILE
from offline_mbrl.simulation.rules import Floats
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task


def pooled_scores(runs: Sequence[Path]) -> list[Floats]:
    """Normalized scores of the stored episodes of every seed's last policy; seeds that diverged are left out."""
    return [scores for run in runs for scores in _of_run(run)]


def _of_run(run: Path) -> list[Floats]:
    robot = get_task(records.read_json(run / records.JOB)["task"]).robot
    found, lost = stored_returns(run), records.diverged_seeds(run)
    last = {seed: max(step for other, step in found if other == seed) for seed, _ in found if seed not in lost}
    judged = (records.read_json(run / FILE) or {"candidates": []})["candidates"]
    extra = {(one["seed"], one["step"]): np.asarray(one["returns"], np.float64) for one in judged}
    none = np.zeros(0)
    return [robot.normalized_score(np.concatenate([found[policy], extra.get(policy, none)])) for policy in last.items()]
