"""The policies to choose among: every sound seed of every run, at each of its kept checkpoints."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from offline_mbrl.algorithms.algorithm import Algorithm, State
from offline_mbrl.errors import UserError
from offline_mbrl.nn.precision import acting
from offline_mbrl.simulation.rules import Floats
from offline_mbrl.storage import records
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Job, Paths, read_job
from offline_mbrl.training.opening import Opened, open_run
from offline_mbrl.training.saving import CHECKPOINTS, read_state
from offline_mbrl.training.system import System, configured
from offline_mbrl.types import Array

CHUNK = 20_000
"""Rows that all policies of a run act on at once."""


@dataclass(frozen=True)
class Policies:
    """The sound seeds of one run as of one checkpoint: S policies."""

    run: Path
    job: Job
    system: System
    step: int
    seeds: Sequence[int]
    state: State  # [S]
    act: Callable[[Array], Array]  # observations [S, B, d] -> actions [S, B, m]

    def act_alike(self, obs: ArrayLike) -> Array:
        """What every policy does in the same observations [B, d]: [S, B, m]."""
        rows, copies = jnp.asarray(obs, jnp.float32), len(self.seeds)
        parts = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
        return jnp.concatenate([self.act(jnp.broadcast_to(part, (copies, *part.shape))) for part in parts], axis=1)


def open_policies(run: Path, paths: Paths) -> list[Policies]:
    """The policies of a run, an entry for each checkpoint that is there, oldest first.

    Raises:
      UserError: it has no checkpoint, or all of its seeds diverged.
    """
    job = read_job(run)
    opened = open_run(job, run, paths)
    if not opened.step:
        raise UserError(f"{run} holds no checkpoint yet; train it first")
    lost = records.diverged_seeds(run)
    rows = [row for row, seed in enumerate(job.seeds) if seed not in lost]
    if not rows:
        raise UserError(f"every seed of {run} diverged; leave it out")
    states = {**dict(_earlier(run, opened)), opened.step: opened.state}
    return [_policies(run, job, rows, step, state) for step, state in states.items()]


def stored_returns(run: Path) -> dict[tuple[int, int], Floats]:
    """The returns of the episodes that training recorded, by seed and step; those of the first way of acting."""
    found: dict[tuple[int, int], Floats] = {}
    for record in records.read_records(run / records.SCORES):
        returns = np.array([value for value in record["returns"] if value is not None], np.float64)
        found.setdefault((record["seed"], record["step"]), returns)
    return found


def labels(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    """A short name for each job: its algorithm, and the settings in which jobs of that algorithm differ."""
    jobs = list(jobs)
    return [f"{job['algorithm']}{_differences(job, jobs)}" for job in jobs]


def _policies(run: Path, job: Job, rows: Sequence[int], step: int, state: State) -> Policies:
    system = configured(job.algorithm, get_task(job.task), job.config, job.steps)
    algorithm, index = system.algorithm, jnp.asarray(rows)
    chosen = jax.tree.map(lambda leaf: leaf[index], state)
    deployed = _deployed(algorithm, chosen)

    def one(state: State, obs: Array) -> Array:
        with acting():
            return algorithm.act(state, obs, jax.random.key(0), True)

    act: Callable[[State, Array], Array] = jax.jit(jax.vmap(jax.vmap(one, in_axes=(None, 0))))
    seeds = [job.seeds[row] for row in rows]
    return Policies(run, job, system, step, seeds, chosen, lambda obs: act(deployed, obs))


def _deployed(algorithm: Algorithm, state: State) -> State:
    """The states [S] as acting needs them."""
    if algorithm.deploy is None:
        return state
    deploy: Callable[[State], State] = jax.jit(jax.vmap(algorithm.deploy))
    return deploy(state)


def _earlier(run: Path, opened: Opened) -> Iterator[tuple[int, State]]:
    """The checkpoints before the last one, of a run that is not finished."""
    if records.job_status(run) == "finished" or not (run / CHECKPOINTS).is_dir():
        return
    kept = Checkpoints(run / CHECKPOINTS)
    steps = [step for step in kept.steps() if step < opened.step and kept.is_sound(step)]
    kept.close()
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), opened.state)
    for step in steps:
        yield step, read_state(run, step, shapes)


def _differences(job: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> str:
    alike = [other for other in jobs if other["algorithm"] == job["algorithm"]]
    config = job["config"]
    named = [name for name in config if any(other["config"].get(name) != config[name] for other in alike)]
    return f" ({', '.join(f'{name}={config[name]}' for name in named)})" if named else ""
