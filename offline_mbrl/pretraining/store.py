"""Fits on disk: each seed's result is kept once and reused by everyone who asks for the same one.

A fit in progress is saved from time to time, so that one that was stopped goes on where it was and ends bit-equal.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from offline_mbrl.pretraining.contract import Pretraining, Progress, State
from offline_mbrl.pretraining.fit import Report, fit, result_shape, seed_keys, silent, state_shape
from offline_mbrl.stopping import SAVE_EVERY
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.storage.lock import wait_for
from offline_mbrl.types import Data


def fit_id(pretraining: Pretraining, task: str, fingerprint: str, precision: str, platform: str) -> str:
    """The name under which fits of one configuration on one data set are kept."""
    parts = [pretraining.version, pretraining.config.model_dump(mode="json"), task, fingerprint, precision, platform]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def load_or_fit(
    folder: Path,
    pretraining: Pretraining,
    data: Data,
    seeds: Sequence[int],
    report: Report = silent,
    save_every: float = SAVE_EVERY,
) -> Any:
    """The results of `seeds`, in order, read from `folder` where they are there and made together where they are not.

    Args:
      folder: of one `fit_id`; a lock there lets two processes make a fit once.
      pretraining: what is fitted.
      data: what it is fitted to.
      seeds: whose results are wanted.
      report: called after every epoch of a fit that is being made.
      save_every: seconds between two saves of a fit in progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with wait_for(folder / "lock", "a fit"):
        saved = Checkpoints(folder / "seeds", keep=None)
        missing = [seed for seed in dict.fromkeys(seeds) if not saved.is_sound(seed)]
        if missing:
            results = _fit_resumably(folder, pretraining, data, missing, report, save_every)
            for row, seed in enumerate(missing):
                saved.save(seed, _row(results, row))
            shutil.rmtree(_progress_folder(folder, missing), ignore_errors=True)
        template = _row(result_shape(pretraining, data, 1), None)
        results = [saved.restore(seed, template) for seed in seeds]
        saved.close()
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def _fit_resumably(
    folder: Path, pretraining: Pretraining, data: Data, seeds: list[int], report: Report, save_every: float
) -> Any:
    """Fits `seeds` together, from where an earlier attempt at the same seeds was last saved."""
    progress = Checkpoints(_progress_folder(folder, seeds))
    step = next((step for step in reversed(progress.steps()) if progress.is_sound(step)), None)
    resumed = None if step is None else progress.restore(step, state_shape(pretraining, data, len(seeds)))
    last_save = time.monotonic()

    def save_and_report(state: State, now: Progress) -> None:
        nonlocal last_save
        if time.monotonic() - last_save >= save_every:
            progress.save(int(now.epochs.max()), state)
            last_save = time.monotonic()
        report(state, now)

    results = fit(pretraining, data, seed_keys(pretraining, seeds), save_and_report, resumed)
    progress.close()
    return results


def _progress_folder(folder: Path, seeds: list[int]) -> Path:
    return folder / "in_progress" / "-".join(map(str, seeds))


def _row(tree: Any, row: int | None) -> Any:
    """One seed of a batched tree, or of its shapes where `row` is None."""
    if row is None:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)
    return jax.tree.map(lambda leaf: leaf[row], tree)
