"""Records of a sweep that never ran: learning curves and metrics drawn from simple formulas."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offline_mbrl.tasks import TASKS

SYSTEMS = (
    *("armor", "atac", "bc", "combo", "cql", "crop", "drop", "edac", "iql", "micro", "mobile", "mopo", "morel"),
    *("rambo", "td3_bc"),
)
METRICS = (
    *("q", "target", "penalty", "uncertainty", "model_loss", "rollout_reward", "rollout_reward_min"),
    *("rollout_reward_max", "entropy", "alpha", "critic_loss", "actor_loss"),
)


def write_sweep(
    out: Path,
    systems: Sequence[str] = SYSTEMS,
    tasks: Sequence[str] = tuple(TASKS),
    seeds: int = 4,
    evaluations: int = 200,
) -> Path:
    """The folder `out` with a finished job for each system and task."""
    for place, system in enumerate(systems):
        for column, task in enumerate(tasks):
            write_job(out / f"{system}-{task}", system, task, range(seeds), evaluations, 30 + 3.0 * place + column)
    return out


def write_job(
    folder: Path, system: str, task: str, seeds: Sequence[int], evaluations: int, level: float, mark: str = "DONE"
) -> Path:
    """One job, whose seeds rise towards about `level`."""
    folder.mkdir(parents=True)
    step = 5000
    job: dict[str, object] = {
        "id": folder.name,
        "algorithm": system,
        "task": task,
        "source": "builtin",
        "physics": "d4rl-v2",
    }
    job |= {"seeds": list(seeds), "steps": step * evaluations, "evaluate_every": step, "episodes": 10}
    job |= {"precision": "default", "config": {"batch_size": 256}, "algorithm_version": 1}
    dataset: dict[str, object] = {
        "name": task,
        "source": "builtin",
        "physics": "d4rl-v2",
        "fingerprint": f"sha256:{task}",
        "rows": 10**6,
    }
    environment: dict[str, object] = {
        "versions": {"python": "3.11.7", "jax": "0.10.2"},
        "device": "NVIDIA H200",
        "platform": "gpu",
        "cores": 16,
        "git_commit": "0123456789ab",
        "dataset": dataset | {"episodes": 1000, "score_mean": 35.0, "score_std": 9.0},
    }
    _write(folder / "job.json", job)
    _write(folder / "environment.json", environment)
    curves = _curves(len(seeds), evaluations, level)
    at = [step * (place + 1) for place in range(evaluations)]
    pairs = [(seed, place) for place in range(evaluations) for seed in range(len(seeds))]
    _write_lines(
        folder / "scores.jsonl",
        [{"seed": seeds[s], "step": at[p], "returns": [1.0], "score": float(curves[s, p])} for s, p in pairs],
    )
    _write_lines(
        folder / "metrics.jsonl",
        [
            {"seed": seeds[s], "step": at[p]} | {m: float(curves[s, p]) / (k + 2) for k, m in enumerate(METRICS)}
            for s, p in pairs
        ],
    )
    if mark:
        _write(folder / mark, {"steps": step * evaluations, "seconds": {"fit": 300.0, "train": 3000.0}})
    return folder


def _curves(seeds: int, evaluations: int, level: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    generator = np.random.default_rng(int(level * 10))
    rise = 1 - np.exp(-np.arange(evaluations) / (evaluations / 6))
    noise = generator.normal(0, 3, (seeds, evaluations)) + generator.normal(0, 2, (seeds, 1))
    return level * rise + noise


def _write(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value))


def _write_lines(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
