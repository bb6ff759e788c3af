import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

WriteJob = Callable[..., Path]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder that `write_job` writes into."""
    return tmp_path / "runs"


@pytest.fixture
def write_job(runs: Path) -> WriteJob:
    """Writes a job's folder as a run leaves it; `scores` holds one list of evaluations per seed, ten steps apart.

    The job is as long as the longest of them, unless `steps` says more.
    """

    def write(
        name: str,
        scores: Mapping[int, list[float | None]],
        *,
        algorithm: str = "mopo",
        task: str = "hopper-medium",
        source: str = "builtin",
        physics: str = "d4rl-v2",
        fingerprint: str = "sha256:aaaaaaaaaaaa",
        steps: int | None = None,
        config: Mapping[str, object] | None = None,
        mark: str = "DONE",
        diverged: tuple[int, ...] = (),
        data_score: float | None = 44.1,
        device: str = "test CPU",
        precision: str = "default",
        version: str = "0.2.0",
        algorithm_version: int = 1,
        commit: str | None = "0123456789ab",
        data_source: str | None = None,
        data_physics: str | None = None,
    ) -> Path:
        folder = runs / name
        folder.mkdir(parents=True)
        job = {
            "id": name,
            "algorithm": algorithm,
            "task": task,
            "source": source,
            "physics": physics,
            "seeds": list(scores),
            "steps": steps or 10 * max(1, *map(len, scores.values())),
            "evaluate_every": 10,
            "episodes": 10,
            "precision": precision,
            "algorithm_version": algorithm_version,
            "config": config or {},
        }
        dataset = {
            "name": f"{task}@100k",
            "source": data_source or source,
            "physics": data_physics or physics,
            "fingerprint": fingerprint,
            "rows": 100_000,
            "episodes": 120,
            "score_mean": data_score,
            "score_std": 3.0,
        }
        made_with = {"device": device, "versions": {"offline-mbrl": version}, "git_commit": commit}
        (folder / "job.json").write_text(json.dumps(job, indent=2))
        (folder / "environment.json").write_text(json.dumps(made_with | {"dataset": dataset}))
        lines = [
            json.dumps({"seed": seed, "step": 10 * place, "returns": [1.0], "score": score})
            for seed, evaluations in scores.items()
            for place, score in enumerate(evaluations, 1)
        ]
        (folder / "scores.jsonl").write_text("".join(line + "\n" for line in lines))
        if diverged:
            reports = [{"seed": seed, "step": 50, "quantity": "critic_loss", "last_good_step": 40} for seed in diverged]
            (folder / "diverged.json").write_text(json.dumps(reports))
        if mark:
            (folder / mark).write_text("")
        return folder

    return write
