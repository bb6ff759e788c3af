"""What a run was made with: versions, device, precision, code and data; written beside every result."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.summary import summarize
from offline_mbrl.errors import UserError

PACKAGES = ("offline-mbrl", "jax", "jaxlib", "flax", "optax", "distrax", "orbax-checkpoint", "mujoco", "numpy")

COMPILED_BYTES = 2**30
"""Compiled programs that are kept on a host at most; those that were not used for longest go first."""


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


def versions() -> dict[str, str]:
    """Installed versions of the packages that can move a number, and Python's."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


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


def keep_compiled(folder: Path) -> None:
    """Keeps compiled programs in `folder` for the processes that come later; $JAX_COMPILATION_CACHE_DIR goes before it.

    Each host has a folder of its own: code made for one processor may not run on another.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder / platform.node()))
        jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)


def select_device(name: str) -> None:
    """Makes "cpu", "gpu" or "tpu" the default device; "auto" leaves JAX's choice.

    Raises:
      UserError: there is no such device.
    """
    if name == "auto":
        return
    try:
        jax.config.update("jax_default_device", jax.devices(name)[0])
    except RuntimeError:
        have = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise UserError(
            f"no {name} is available to JAX (it sees: {have}); install the extra for it, such as "
            "pip install 'offline-mbrl[cuda]', or leave out --device"
        ) from None
