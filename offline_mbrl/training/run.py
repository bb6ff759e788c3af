"""One job from its data to its last score: the fit, the loop, evaluations, records, checkpoints, the mark of its end.

Nothing is lost to a kill: a period's records are appended before its checkpoint is put in place, and a run that starts
again drops the records beyond its last checkpoint. Each draw depends on the seed and the step alone, so on the same
device it ends as if it had never stopped.
"""

import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from offline_mbrl.algorithms.algorithm import Definition, State
from offline_mbrl.algorithms.presets import validate
from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.config import Config
from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset, to_device
from offline_mbrl.data.source import load
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.fit import FitState, fit_shape
from offline_mbrl.dynamics.store import fit_id, load_or_fit
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.progress import progress
from offline_mbrl.simulation.evaluate import evaluate, reset_seeds
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.stopping import at_safe_points, stop_here
from offline_mbrl.storage import records
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.tasks import Robot, get_task
from offline_mbrl.training.divergence import DIVERGENCE, Divergence
from offline_mbrl.training.job import Job, Paths, claim
from offline_mbrl.training.loop import Program, compile_program
from offline_mbrl.training.provenance import describe
from offline_mbrl.types import Data, Key

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Opened:
    """A job with its data, its compiled program, and its states as of `step`."""

    program: Program
    data: Data
    state: State
    step: int
    checkpoints: Checkpoints


def run_job(job: Job, out: Path, paths: Paths, console: Console | None = None) -> list[Divergence]:
    """Runs `job` in the folder `out`, or goes on with it, or returns at once where it is done.

    Returns:
      The seeds that diverged; the others' results are kept.

    Raises:
      UserError: the folder cannot be written or belongs to another run, the data or a name is wrong, a checkpoint is
        damaged, or every seed diverged.
    """
    claim(out, job)
    if records.job_status(out) == "finished":
        return []
    console = console or Console(stderr=True)
    with _precision(job):
        diverged = _train(job, out, open_run(job, out, paths, console), console)
    if len(diverged) == len(job.seeds):
        raise UserError(f"every seed diverged: {'; '.join(map(str, diverged))}")
    records.write_json(out / records.DONE, {"steps": job.steps})
    return diverged


def open_run(job: Job, out: Path, paths: Paths, console: Console | None = None) -> Opened:
    """Loads the data, reads or fits the ensembles, compiles, and restores the last checkpoint or starts afresh."""
    definition, task = get_definition(job.algorithm), get_task(job.task)
    config = validate(definition, job.config)
    with _precision(job):
        dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
        _record_environment(out, job, dataset)
        data = to_device(dataset)
        program = compile_program(definition.build(problem_of(task.robot), config, job.steps), job.evaluate_every)
        checkpoints = Checkpoints(out / CHECKPOINTS)
        step = checkpoints.latest_step() or 0
        if step:
            # Shapes are enough to read a checkpoint by: neither the fit nor what `init` trains is made again.
            shapes = jax.eval_shape(
                program.init, _keys(job, "init"), data, _ensemble_shape(definition, config, job, data)
            )
            return Opened(program, data, checkpoints.restore(step, shapes), step, checkpoints)
        ensemble = _ensembles(definition, config, job, dataset, data, paths, console or Console(stderr=True))
        return Opened(program, data, program.init(_keys(job, "init"), data, ensemble), 0, checkpoints)


def _precision(job: Job) -> AbstractContextManager[object]:
    return jax.default_matmul_precision(None if job.precision == "default" else job.precision)


def _keys(job: Job, name: str) -> Key:
    """One key for each seed, of the stream `name`."""
    return jax.vmap(lambda seed: stream(jax.random.key(seed), name))(jnp.asarray(job.seeds, jnp.uint32))


def _record_environment(out: Path, job: Job, dataset: Dataset) -> None:
    """Writes what the run began with, once, and refuses to go on with other data."""
    before = records.read_json(out / records.ENVIRONMENT)
    if before is None:
        records.write_json(out / records.ENVIRONMENT, describe(job.precision, dataset))
    elif before["dataset"]["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"{out} was begun on other data than {dataset.name} is now (fingerprints differ); choose another --out"
        )


def _ensembles(
    definition: Definition, config: Config, job: Job, dataset: Dataset, data: Data, paths: Paths, console: Console
) -> Ensemble | None:
    """The fitted ensembles [seeds], read or made; None where the algorithm uses none."""
    settings = definition.ensemble(config)
    if settings is None:
        return None
    name = fit_id(settings, job.task, dataset.fingerprint, job.precision, jax.devices()[0].platform)
    with progress(f"dynamics {job.task}", settings.max_epochs, console=console) as tick:

        def report(state: FitState) -> None:
            loss = np.asarray(state.best_loss).mean()
            tick(int(state.epochs.max()), f"holdout mse {loss:.4g}")

        fitted = load_or_fit(
            cache_folder(paths.cache) / "dynamics" / name, settings, data.transitions, job.seeds, report
        )
    return fitted.ensemble


def _ensemble_shape(definition: Definition, config: Config, job: Job, data: Data) -> Ensemble | None:
    """Shapes and types of what `_ensembles` gives."""
    settings = definition.ensemble(config)
    if settings is None:
        return None
    rows = data.transitions
    one = fit_shape(settings, rows.obs.shape[-1], rows.action.shape[-1]).ensemble
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(job.seeds), *leaf.shape), leaf.dtype), one)


def _train(job: Job, out: Path, opened: Opened, console: Console) -> list[Divergence]:
    """The periods of training and evaluation, from the last checkpoint on."""
    program, state, start = opened.program, opened.state, opened.step
    for file in (records.SCORES, records.METRICS):
        records.truncate_after(out / file, start)
    diverged = [Divergence(**entry) for entry in records.read_json(out / records.DIVERGED, missing=[])]
    diverged = [entry for entry in diverged if entry.step <= start]
    robot, keys = get_task(job.task).robot, _keys(job, "train")
    simulator = Simulator(robot, len(job.seeds) * job.episodes, job.physics)

    with at_safe_points(), progress(f"{job.algorithm} {job.task}", job.steps, start, console) as tick:
        for last in range(start, job.steps, program.period):
            stop_here()
            state, batched = program.advance(state, opened.data, keys, last)
            metrics, step = jax.device_get(batched), last + program.period
            diverged += _divergences(job, out, metrics, step, last, diverged)
            given_up = {entry.seed for entry in diverged}
            sound = [row for row, seed in enumerate(job.seeds) if seed not in given_up]
            if not sound:
                break
            scores = _evaluate(job, robot, program, state, simulator, step)
            records.append_records(out / records.METRICS, _metric_records(job, metrics, sound, step))
            records.append_records(out / records.SCORES, [record for row in sound for record in scores[row]])
            opened.checkpoints.save(step, state)
            tick(step, f"score {np.mean([record['score'] for row in sound for record in scores[row]]):.1f}")
    opened.checkpoints.close()
    return diverged


def _divergences(
    job: Job, out: Path, metrics: dict[str, np.ndarray], step: int, last_good: int, known: list[Divergence]
) -> list[Divergence]:
    """The seeds that went wrong in the period that ended at `step`; keeps a copy of the checkpoint before it."""
    given_up = {entry.seed for entry in known}
    found = []
    for row, seed in enumerate(job.seeds):
        bad = [name for name, values in metrics.items() if not abs(values[row]) <= DIVERGENCE]
        if bad and seed not in given_up:
            kept = _keep_checkpoint(out, last_good) if last_good else None
            found.append(Divergence(seed, step, bad[0], f"{metrics[bad[0]][row]:g}", kept))
    if found:
        records.write_json(out / records.DIVERGED, [asdict(entry) for entry in (*known, *found)])
    return found


def _keep_checkpoint(out: Path, step: int) -> str:
    """Copies a checkpoint to where later ones do not replace it; its path within `out`."""
    kept = Path("diverged") / str(step)
    if not (out / kept).exists():
        shutil.copytree(out / CHECKPOINTS / str(step), out / f"{kept}.partial", dirs_exist_ok=True)
        (out / f"{kept}.partial").rename(out / kept)
    return str(kept)


def _evaluate(
    job: Job, robot: Robot, program: Program, state: State, simulator: Simulator, step: int
) -> list[list[records.Record]]:
    """For each seed one score record for every way of acting: the episodes' returns and their mean normalized score."""
    starts, deployed = reset_seeds(job.seeds, step, job.episodes), program.deploy(state)
    found: list[list[records.Record]] = [[] for _ in job.seeds]
    for variant, act in program.variants.items() if program.variants else [("", program.act)]:
        returns = evaluate(partial(act, deployed), simulator, starts).returns
        named = {"variant": variant} if variant else {}
        for made, seed, row in zip(found, job.seeds, returns, strict=True):
            score = robot.normalized_score(row).mean()
            made.append({"seed": seed, "step": step, **named, "returns": row, "score": score})
    return found


def _metric_records(job: Job, metrics: dict[str, np.ndarray], rows: list[int], step: int) -> list[dict[str, Any]]:
    """One metric record for each seed that is still sound."""
    return [{"seed": job.seeds[row], "step": step} | {name: v[row] for name, v in metrics.items()} for row in rows]
