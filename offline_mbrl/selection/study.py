"""Estimates the worth of the policies of some runs and keeps them, with the simulator's, in the runs' folders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import ValidationError

from offline_mbrl.config import describe_first
from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset, to_device
from offline_mbrl.data.source import load
from offline_mbrl.dynamics.uncertainty import PENALTIES, PenaltyName
from offline_mbrl.errors import UserError, unknown_name
from offline_mbrl.keys import stream
from offline_mbrl.model_error.study import world_of
from offline_mbrl.model_error.world import World
from offline_mbrl.nn.precision import computing
from offline_mbrl.selection.candidates import Policies, open_policies
from offline_mbrl.selection.estimates import model_values, start_values, td_errors
from offline_mbrl.selection.fqe import FQEConfig, fitted_q, q_values
from offline_mbrl.selection.truth import Worth, worth
from offline_mbrl.simulation.rules import Floats
from offline_mbrl.storage import records
from offline_mbrl.training.experiment import pretrain
from offline_mbrl.training.job import Job, Paths, read_job
from offline_mbrl.training.system import make_system
from offline_mbrl.types import Array, Data, Key

VERSION = 1
"""Raised when a change moves the numbers: older records are then made again."""

FILE = "selection.json"
"""Within a run's folder."""

Estimator = Literal["fqe", "critics", "model"]
ESTIMATORS: tuple[Estimator, ...] = ("fqe", "critics", "model")


class Settings(NamedTuple):
    """What is estimated and how; all of it enters the records."""

    fqe: FQEConfig
    estimators: tuple[Estimator, ...] = ESTIMATORS
    starts: int = 100  # first states of the data's episodes, at most
    horizon: int = 500  # steps in the model
    penalty: PenaltyName = "ens_std"
    penalty_weight: float = 1.0
    td_rows: int = 5000  # rows of the data for the temporal-difference error, at most
    episodes: int = 20  # of the simulator, for each policy
    draw: int = 0  # seed of all draws


def alike(about: Mapping[str, Any]) -> str:
    """What the estimates of policies that are compared share, as text."""
    own = ("job", "algorithm", "config", "last_step")
    return json.dumps({name: value for name, value in about.items() if name not in own}, sort_keys=True)


def settings_of(fqe: Mapping[str, Any], penalty: str, **others: Any) -> Settings:
    """Settings of plain values.

    Raises:
      UserError: one is out of range, or the penalty is unknown.
    """
    if penalty not in PENALTIES:
        raise unknown_name("penalty", penalty, PENALTIES)
    try:
        return Settings(FQEConfig.model_validate(fqe), penalty=penalty, **others)
    except ValidationError as error:
        raise UserError(describe_first(error, "fqe")) from None


class Ground(NamedTuple):
    """What all policies are estimated on."""

    data: Data
    starts: Array  # [B, d]
    world: World | None
    key: Key


def select(runs: Sequence[Path], settings: Settings, model: Mapping[str, Any], paths: Paths) -> list[records.Record]:
    """The records of `runs`, those that are not there yet made together and written to `FILE` in each run's folder.

    Args:
      runs: folders of runs of one task on the same data.
      settings: of the estimates.
      model: settings laid over MOPO's of the task, whose ensemble is the model.
      paths: of data and fits.

    Raises:
      UserError: the runs' data differ, or one has no checkpoint.
    """
    jobs = {run: read_job(run) for run in runs}
    about = {run: _about(run, job, settings, model) for run, job in jobs.items()}
    _require_same_data(list(about.values()))
    missing = [run for run in runs if (records.read_json(run / FILE) or {}).get("about") != about[run]]
    if missing:
        with computing(jobs[missing[0]].precision):
            _estimate(missing, jobs[missing[0]], about, settings, model, paths)
    return [records.read_json(run / FILE) for run in runs]


def _estimate(
    runs: Sequence[Path],
    job: Job,
    about: Mapping[Path, Any],
    settings: Settings,
    model: Mapping[str, Any],
    paths: Paths,
) -> None:
    dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
    opened = [policies for run in runs for policies in open_policies(run, paths)]
    ground = _ground(dataset, job, settings, model, paths)
    q = _fqe(opened, ground, settings) if "fqe" in settings.estimators else [None] * len(opened)
    entries: dict[Path, list[records.Record]] = {run: [] for run in runs}
    for policies, own in zip(opened, q, strict=True):
        entries[policies.run] += _candidates(policies, ground, settings, own)
    for run, candidates in entries.items():
        records.write_json(run / FILE, {"about": about[run], "candidates": candidates})


def _candidates(policies: Policies, ground: Ground, settings: Settings, fqe: Floats | None) -> list[records.Record]:
    """A record for every policy of one checkpoint."""
    columns = {} if fqe is None else {"fqe": fqe}
    if "critics" in settings.estimators:
        columns |= _critics(policies, ground, settings)
    if ground.world is not None:
        columns |= _model(policies, ground.world, ground, settings)
    true = worth(policies, settings.episodes, settings.fqe.discount, settings.draw)
    return [
        {
            "seed": seed,
            "step": policies.step,
            "estimates": {name: column[row] for name, column in columns.items()},
            **_truth(true, row),
        }
        for row, seed in enumerate(policies.seeds)
    ]


def _truth(true: Worth, row: int) -> dict[str, Any]:
    return {"returns": true.returns[row], "value": true.discounted[row].mean()}


def _fqe(opened: Sequence[Policies], ground: Ground, settings: Settings) -> list[Floats]:
    """Every policy's value by fitted Q evaluation, by checkpoint: all networks are fitted in one program."""
    rows = ground.data.transitions
    after = jnp.concatenate([policies.act_alike(rows.next_obs) for policies in opened])
    first = jnp.concatenate([policies.act_alike(ground.starts) for policies in opened])
    evaluator = fitted_q(settings.fqe, rows, after, stream(ground.key, "fqe"))
    values = np.asarray(q_values(settings.fqe, evaluator, ground.starts, first).mean(axis=1), np.float64)
    return np.split(values, np.cumsum([len(policies.seeds) for policies in opened])[:-1])


def _critics(policies: Policies, ground: Ground, settings: Settings) -> dict[str, Floats]:
    """The critics' value at the starts, and minus their TD error; nothing where there are no critics."""
    order = jax.random.permutation(stream(ground.key, "td rows"), len(ground.data.transitions.reward))
    chosen = order[: settings.td_rows]
    values = start_values(policies, ground.starts)
    errors = td_errors(policies, jax.tree.map(lambda leaf: leaf[chosen], ground.data.transitions))
    return {} if values is None or errors is None else {"critics": values, "td_error": -errors}


def _model(policies: Policies, world: World, ground: Ground, settings: Settings) -> dict[str, Floats]:
    """The model's value without and with the penalty."""
    values, penalties = model_values(
        policies, world, ground.starts, settings.horizon, settings.fqe.discount, settings.penalty, ground.key
    )
    return {"model": values, "model_penalized": values - settings.penalty_weight * penalties}


def _ground(dataset: Dataset, job: Job, settings: Settings, model: Mapping[str, Any], paths: Paths) -> Ground:
    data, key = to_device(dataset, only_known_next=True), jax.random.key(settings.draw)
    firsts = jax.random.permutation(stream(key, "starts"), jnp.flatnonzero(data.is_first))[: settings.starts]
    world = None
    if "model" in settings.estimators:
        system = make_system("mopo", dataset.task, None, None, model)
        world = world_of(system, pretrain(system, dataset, (0,), cache_folder(paths.cache), job.precision), 0)
    return Ground(data, data.transitions.obs[firsts], world, key)


def _about(run: Path, job: Job, settings: Settings, model: Mapping[str, Any]) -> dict[str, Any]:
    """What the record is of; equal ones are the same estimates. The model and the data are named by what made them."""
    environment = records.read_json(run / records.ENVIRONMENT)
    if environment is None:
        raise UserError(f"{run} has not begun; train it first")
    plain = settings._asdict() | {"fqe": settings.fqe.model_dump(mode="json")}
    about = {
        "version": VERSION,
        "job": job.id,
        "algorithm": job.algorithm,
        "task": job.task,
        "config": job.config,
        "physics": job.physics,
        "data": environment["dataset"]["name"],
        "fingerprint": environment["dataset"]["fingerprint"],
        "last_step": _last_scored(run),
        "model": dict(model),
        **plain,
    }
    return dict(json.loads(json.dumps(about)))


def _last_scored(run: Path) -> int:
    """The last evaluation: a run that went on has other policies."""
    return max((record["step"] for record in records.read_records(run / records.SCORES)), default=0)


def _require_same_data(about: Sequence[Mapping[str, Any]]) -> None:
    for name, what in (("task", "tasks"), ("fingerprint", "data"), ("physics", "physics")):
        if len({one[name] for one in about}) > 1:
            raise UserError(f"the runs are on different {what}; choose among those of one task and its data")
