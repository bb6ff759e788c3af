"""What the tests of data share: a cache of their own, and small raw logs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_mbrl.tasks import get_task

Raw = dict[str, Any]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache, D4RL files or Minari sets."""
    monkeypatch.setenv("OFFLINE_MBRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("D4RL_DATASET_DIR", raising=False)


def raw_log(lengths: tuple[int, ...] = (3, 2, 2), ends: tuple[str, ...] = ("terminal", "timeout", "cut")) -> Raw:
    """Hopper episodes with obs = 100 * episode + step in every feature, rewards 1, 2, 3, ... over the whole log."""
    task = get_task("hopper-medium")
    steps = [100.0 * episode + np.arange(length + 1) for episode, length in enumerate(lengths)]
    rows = sum(lengths)
    last = np.cumsum(lengths) - 1
    terminals, timeouts = np.zeros((2, rows), np.bool_)
    terminals[last[[end == "terminal" for end in ends]]] = True
    timeouts[last[[end == "timeout" for end in ends]]] = True

    def wide(parts: list[Any]) -> Any:
        return np.repeat(np.concatenate(parts)[:, None], task.robot.obs_dim, 1)

    return {
        "observations": wide([step[:-1] for step in steps]),
        "actions": np.linspace(-1, 1, rows * 3).reshape(rows, 3),
        "rewards": np.arange(1.0, rows + 1),
        "terminals": terminals,
        "timeouts": timeouts,
        "next_observations": wide([step[1:] for step in steps]),
    }


@pytest.fixture
def raw() -> Raw:
    return raw_log()
