"""The command line in this process, and a folder of sound results that no mistake may touch."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from offline_mbrl.cli import app as cli
from offline_mbrl.storage import records
from offline_mbrl.storage.seal import seal

TASKS = {"sound": "hopper-medium", "other": "walker2d-medium"}


class Ended(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `offline-mbrl ARGS` in this process."""

    def run(*args: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["offline-mbrl", *args])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    return run


def write_run(folder: Path, task: str = "hopper-medium") -> Path:
    """A finished run of one seed with two evaluations, as training leaves it, but for its checkpoints."""
    job = {"id": "0123456789ab", "algorithm": "bc", "task": task, "source": "synthetic", "physics": "d4rl-v2"}
    numbers = {"seeds": [0], "steps": 20, "evaluate_every": 10, "episodes": 1, "precision": "default", "config": {}}
    data = {"name": task, "fingerprint": "sha256:00", "rows": 300, "score_mean": 1.0, "score_std": 1.0}
    scores = [{"seed": 0, "step": step, "returns": [1.0], "score": float(step)} for step in (10, 20)]
    files: dict[str, list[Any]] = {
        records.JOB: [job | numbers],
        records.ENVIRONMENT: [{"platform": "cpu", "dataset": data}],
        records.SCORES: scores,
        records.METRICS: [{"seed": 0, "step": step, "loss": 0.5} for step in (10, 20)],
        records.DONE: [{"steps": 20}],
    }
    folder.mkdir(parents=True)
    for name, lines in files.items():  # not through the storage, which waits for the disk at every file
        (folder / name).write_text("".join(seal(json.dumps(line)) + "\n" for line in lines))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with two sound runs."""
    for name, task in TASKS.items():
        write_run(tmp_path / "results" / name, task)
    return tmp_path / "results"


def hashes(folder: Path) -> dict[str, str]:
    """The content of every file at or below `folder`, by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
