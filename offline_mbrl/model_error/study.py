"""Measures the world models of a task's default ensemble or of a run, and keeps the records in a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.source import load
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.fit import split_rows
from offline_mbrl.errors import UserError
from offline_mbrl.model_error.measure import measure, plans, scale_of
from offline_mbrl.model_error.play import NumPyPolicy, Rows
from offline_mbrl.model_error.truth import tells_state, truth_of
from offline_mbrl.model_error.world import World, raw_world
from offline_mbrl.nn.precision import computing
from offline_mbrl.pretraining.fit import seed_keys
from offline_mbrl.storage import records
from offline_mbrl.tasks import Physics, get_task
from offline_mbrl.training.experiment import Pretrained, numpy_policy, pretrain
from offline_mbrl.training.job import Job, Paths, read_job
from offline_mbrl.training.opening import open_run
from offline_mbrl.training.system import System, configured, make_system

VERSION = 1
"""Raised when a change moves the numbers: older records are then made again."""

FOLDER = "model_error"
"""Within a run's folder."""


class Protocol(NamedTuple):
    """What is measured; all of it enters the records."""

    rows: int = 500  # held-out rows that trajectories start in, at most
    horizon: int = 50
    samples: int = 5  # sampled paths of each row
    draw: int = 0  # seed of the random actions and the model's draws


@dataclass(frozen=True)
class Subject:
    """Fitted worlds, the data that they were fitted to, and a policy for each seed where there are any."""

    system: System
    dataset: Dataset
    fitted: Pretrained
    policies: Mapping[int, NumPyPolicy]
    about: Mapping[str, Any]


def measure_task(
    task: str,
    source: str,
    size: int | None,
    physics: Physics,
    algorithm: str,
    overrides: Mapping[str, Any],
    seeds: Sequence[int],
    protocol: Protocol,
    paths: Paths,
    out: Path | None = None,
) -> Path:
    """Fits the ensemble that `algorithm` would fit, as training does and in the same cache, and measures it.

    Returns:
      The folder with the records: `out`, or one named after the task in results/model_error.

    Raises:
      UserError: an unknown name, an algorithm without a world model, or data of a physics that is not ours.
    """
    system = make_system(algorithm, get_task(task), None, None, overrides)
    _require_model(system)
    dataset = load(task, source, size, physics, paths.data, paths.cache)
    fitted = pretrain(system, dataset, seeds, cache_folder(paths.cache))
    return _keep(Subject(system, dataset, fitted, {}, {}), protocol, out or Path("results") / FOLDER / dataset.name)


def measure_run(run: Path, protocol: Protocol, paths: Paths, out: Path | None = None) -> Path:
    """Measures what a run fitted before its first step, also under its own policies as they were last saved.

    Raises:
      UserError: there is no run, it has no world model or no checkpoint yet.
    """
    job = read_job(run)
    system = configured(job.algorithm, get_task(job.task), job.config, job.steps)
    _require_model(system)
    dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
    with computing(job.precision):
        policies, step = _policies(job, run, system, paths)
        fitted = pretrain(system, dataset, list(policies), cache_folder(paths.cache), job.precision)
        about = {"algorithm": job.algorithm, "job": job.id, "step": step}
        return _keep(Subject(system, dataset, fitted, policies, about), protocol, out or run / FOLDER)


def read_study(folder: Path) -> list[records.Record]:
    """The records of a folder, one for each seed, in the order of the seeds.

    Raises:
      UserError: they are of different measurements, as an interrupted command or one with other seeds leaves them.
    """
    found = [records.read_json(path) for path in folder.glob("seed-*.json")]
    found.sort(key=lambda record: record["about"]["seed"])
    for record in found[1:]:
        _refuse_other(folder, found[0]["about"], record["about"])
    return found


def _refuse_other(folder: Path, first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    differing = [name for name in first.keys() | other.keys() if name != "seed" and first.get(name) != other.get(name)]
    if differing:
        name, seeds = min(differing), f"seeds {first['seed']} and {other['seed']}"
        raise UserError(
            f"{folder} holds different measurements: {name} is not the same for {seeds}; measure all of them anew, or "
            "with another --out"
        )


def held_out(system: System, dataset: Dataset, seed: int) -> Rows:
    """The rows that no member of the seed's fit was trained on, in the order in which the fit drew them."""
    fit, usable = system.pretraining["dynamics"], np.flatnonzero(dataset.known_next)
    holdout, _ = split_rows(cast(EnsembleConfig, fit.config), len(usable), seed_keys(fit, [seed])[0])
    return usable[np.asarray(holdout)]


def world_of(system: System, fitted: Pretrained, seed: int) -> World:
    """The world model that was fitted for `seed`."""
    ensemble = jax.tree.map(lambda leaf: leaf[0], fitted.of([seed])["dynamics"].ensemble)
    problem = system.problem
    if cast(EnsembleConfig, system.pretraining["dynamics"].config).standardize:
        return World(ensemble, fitted.observations, problem.terminates)
    return raw_world(ensemble, problem.obs_dim, problem.terminates)


def _policies(job: Job, run: Path, system: System, paths: Paths) -> tuple[dict[int, NumPyPolicy], int]:
    opened = open_run(job, run, paths)
    if not opened.step:
        raise UserError(f"{run} holds no checkpoint yet; train it first")
    state, lost = opened.program.deploy(opened.state), records.diverged_seeds(run)
    rows = {seed: row for row, seed in enumerate(job.seeds) if seed not in lost}
    lanes = {seed: jax.tree.map(lambda leaf, row=row: leaf[row], state) for seed, row in rows.items()}
    return {seed: numpy_policy(system.algorithm.act, lane, True, 0) for seed, lane in lanes.items()}, opened.step


def _keep(subject: Subject, protocol: Protocol, folder: Path) -> Path:
    """Writes `seed-N.json` for every seed whose record is not there yet."""
    for seed in subject.fitted.seeds:
        path, about = folder / f"seed-{seed}.json", _about(subject, protocol, seed)
        before = records.read_json(path)
        if before is None or before["about"] != about:
            folder.mkdir(parents=True, exist_ok=True)
            records.write_json(path, {"about": about} | record_of(subject, protocol, seed))
    return folder


def _about(subject: Subject, protocol: Protocol, seed: int) -> dict[str, Any]:
    """What the record is of; equal ones are the same measurement."""
    dataset = subject.dataset
    return {
        "version": VERSION,
        "task": subject.system.task.name,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "physics": dataset.physics,
        "model": subject.system.pretraining["dynamics"].config.model_dump(mode="json"),
        "seed": seed,
        **subject.about,
        **protocol._asdict(),
    }


def record_of(subject: Subject, protocol: Protocol, seed: int) -> dict[str, Any]:
    """The measurements of one seed's world model; `UserError` where no held-out row can serve as a start."""
    dataset, candidates = subject.dataset, held_out(subject.system, subject.dataset, seed)
    whole = candidates[tells_state(dataset)[candidates]]
    rows = whole[: protocol.rows]
    if not rows.size:
        raise UserError(f"{dataset.name}: no held-out row tells the whole state; use more data")
    truth, world = truth_of(dataset, len(rows), protocol.draw), world_of(subject.system, subject.fitted, seed)
    starts, scale = dataset.observations[rows], scale_of(dataset)
    ways = plans(dataset, rows, protocol.horizon, protocol.draw, subject.policies.get(seed))
    return {
        "starts": len(rows),
        "velocity_clipped": 1 - len(whole) / len(candidates),
        "holdout_mse": subject.fitted.of([seed])["dynamics"].holdout_mse[0],
        "actions": {
            name: measure(world, truth, starts, plan, scale, protocol.samples, protocol.draw)
            for name, plan in ways.items()
        },
    }


def _require_model(system: System) -> None:
    if "dynamics" not in system.pretraining:
        raise UserError(f"{system.name} fits no world model; name a system that does, such as mopo")
