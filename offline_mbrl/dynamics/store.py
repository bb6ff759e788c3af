"""Fitted ensembles on disk: each seed's fit is kept once and reused by every algorithm that asks for the same one."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from offline_mbrl.dynamics.ensemble import EnsembleConfig
from offline_mbrl.dynamics.fit import Fit, Report, fit, fit_shape
from offline_mbrl.keys import stream
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.storage.lock import wait_for
from offline_mbrl.types import Transition

FORMAT = 1
"""Raised when the fit itself changes, so that older fits are not reused."""


def fit_id(config: EnsembleConfig, task: str, fingerprint: str, precision: str, platform: str) -> str:
    """The name under which fits of one configuration on one data set are kept."""
    parts = [FORMAT, config.model_dump(mode="json"), task, fingerprint, precision, platform]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def load_or_fit(
    folder: Path, config: EnsembleConfig, rows: Transition, seeds: tuple[int, ...], report: Report = lambda state: None
) -> Fit:
    """The fits of `seeds`, in order, read from `folder` where they are there and made together where they are not.

    Args:
      folder: of one `fit_id`; a lock there lets two processes make a fit once.
      config: of the ensemble.
      rows: the data [n, ...].
      seeds: whose fits are wanted.
      report: called after every epoch of a fit that is being made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with wait_for(folder / "lock", "the dynamics fit"):
        saved = Checkpoints(folder / "seeds", keep=None)
        missing = [seed for seed in seeds if not saved.is_sound(seed)]
        if missing:
            made = fit(config, rows, seed_keys(missing), report)
            for row, seed in enumerate(missing):
                saved.save(seed, jax.tree.map(lambda leaf, row=row: leaf[row], made))
        template = fit_shape(config, rows.obs.shape[-1], rows.action.shape[-1])
        fits = [saved.restore(seed, template) for seed in seeds]
        saved.close()
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *fits)


def seed_keys(seeds: list[int] | tuple[int, ...]) -> jax.Array:
    """The key of each seed's fit."""
    return jax.vmap(lambda seed: stream(jax.random.key(seed), "fit"))(jnp.asarray(seeds, jnp.uint32))
