"""What a run was made with: versions, device, precision, code and data; written beside every result."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.summary import summarize
from offline_mbrl.machine import versions


def describe(precision: str, dataset: Dataset) -> dict[str, Any]:
    """The record `environment.json` of a job."""
    device = jax.devices()[0]
    return {
        "versions": versions(),
        "device": device.device_kind
        if device.platform != "cpu"
        else f"{platform.processor() or platform.machine()} CPU",
        "platform": device.platform,
        "cores": os.cpu_count(),
        "precision": precision,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git_commit": git_commit(),
        "dataset": describe_dataset(dataset),
    }


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Name, origin, content and level of a data set; scores are over its complete episodes."""
    facts = summarize(dataset)
    return {
        "name": dataset.name,
        "source": dataset.source,
        "physics": dataset.physics,
        "fingerprint": dataset.fingerprint,
        "rows": facts.rows,
        "episodes": facts.episodes,
        "score_mean": facts.score_mean,
        "score_std": facts.score_std,
    }


def git_commit() -> str | None:
    """The commit of the source tree, with "+" when it has uncommitted changes; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=12",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
