"""Pretraining and training in memory: what the command line does too, which adds folders, records and checkpoints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.console import Console

from offline_mbrl.algorithms.algorithm import Act, State
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn.normalizer import Normalizer, fit_normalizer
from offline_mbrl.nn.precision import acting
from offline_mbrl.pretraining.contract import Pretraining, Progress
from offline_mbrl.pretraining.contract import State as FitState
from offline_mbrl.pretraining.fit import Report, fit, seed_keys
from offline_mbrl.pretraining.store import fit_id, load_or_fit
from offline_mbrl.progress import progress
from offline_mbrl.simulation.evaluate import Judge
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics
from offline_mbrl.training.loop import Period, Program, compile_program, periods
from offline_mbrl.training.scoring import Record, metric_records, score_lanes
from offline_mbrl.training.system import System
from offline_mbrl.types import Data, Key

Floats = NDArray[np.float32]
NumPyPolicy = Callable[[NDArray[Any]], NDArray[Any]]
"""Observations [d] or [B, d] -> actions [m] or [B, m]."""


class Pretrained(NamedTuple):
    """What was fitted to a data set before training: one result for each seed and name."""

    seeds: tuple[int, ...]
    results: Mapping[str, Any]  # by name, every leaf [seeds, ...]; "dynamics" is the world model's fit
    observations: Normalizer  # of the data, for models that live in z-scored observations

    def of(self, seeds: Sequence[int]) -> Mapping[str, Any]:
        """The results of `seeds` in that order; `UserError` when one of them is missing."""
        missing = sorted(set(seeds) - set(self.seeds))
        if missing:
            raise UserError(f"nothing was fitted for seed {missing[0]}; pretrain it with seeds={tuple(seeds)}")
        rows = jnp.asarray([self.seeds.index(seed) for seed in seeds])
        return {name: jax.tree.map(lambda leaf: leaf[rows], tree) for name, tree in self.results.items()}


@dataclass
class TrainedRun:
    """A system trained in memory: its policies and how it went."""

    system: System
    seeds: tuple[int, ...]
    program: Program
    state: State  # every leaf [seeds, ...]
    step: int = 0  # gradient steps taken
    scores: list[Record] = field(default_factory=list)  # one for each seed, evaluation and way of acting
    metrics: list[Record] = field(default_factory=list)  # one for each seed and period: means over its gradient steps

    def policy(self, seed: int | None = None, *, deterministic: bool = True, key: int = 0) -> NumPyPolicy:
        """The policy of one seed (the first when None) as a plain function, NumPy in and NumPy out.

        Args:
          seed: one of `seeds`.
          deterministic: act with the mean action; otherwise draw from the policy.
          key: of the draws, which are the same for the same sequence of calls.

        Raises:
          UserError: the seed was not trained.
        """
        chosen = self.seeds[0] if seed is None else seed
        if chosen not in self.seeds:
            raise UserError(f"seed {chosen} was not trained; this run has {', '.join(map(str, self.seeds))}")
        row = self.seeds.index(chosen)
        state = jax.tree.map(lambda leaf: leaf[row], self.program.deploy(self.state))
        return numpy_policy(self.system.algorithm.act, state, deterministic, key)


def numpy_policy(act: Act, state: State, deterministic: bool, key: int) -> NumPyPolicy:
    """The way of acting `act` in `state` as a plain function."""

    @jax.jit
    def batched(obs: jax.Array, key: Key) -> jax.Array:
        keys = jax.random.split(key, obs.shape[0])
        with acting():
            return jax.vmap(lambda obs, key: act(state, obs, key, deterministic))(obs, keys)

    count = 0

    def policy(obs: ArrayLike) -> NDArray[np.floating]:
        nonlocal count
        rows = np.asarray(obs, np.float32)
        action = batched(jnp.atleast_2d(rows), jax.random.fold_in(jax.random.key(key), count))
        count += 1
        return np.asarray(action).reshape(*rows.shape[:-1], -1)

    return policy


def lane_keys(seeds: Sequence[int], purpose: str) -> Key:
    """One key for each seed, of the stream `purpose`."""
    return jax.vmap(lambda seed: stream(jax.random.key(seed), purpose))(jnp.asarray(tuple(seeds), jnp.uint32))


def pretrain(
    system: System,
    data: Dataset,
    seeds: Sequence[int],
    folder: Path | None = None,
    precision: str = "default",
    report: Callable[[str, Pretraining], AbstractContextManager[Report]] | None = None,
    device_data: Data | None = None,
    only: str | None = None,
) -> Pretrained:
    """Fits what `system` needs before its first step, for all `seeds` side by side.

    Args:
      system: says what is fitted; nothing for most model-free ones.
      data: what it is fitted to.
      seeds: each has a fit of its own.
      folder: where results are kept and read from, so that the same fit is never made twice; none when None.
      precision: of matrix products, as it is in force; it enters the name of a kept fit.
      report: gives a context whose value is told of every epoch; a progress bar when None.
      device_data: `data` on the device, where that is at hand.
      only: the name of the one thing to fit; all that `system` needs when None.
    """
    rows = system.rows(data) if device_data is None else device_data
    results = {}
    for name, pretraining in system.pretraining.items():
        if only not in (None, name):
            continue
        with (report or progress_bar)(f"{name} {system.task.name}", pretraining) as tell:
            if folder is None:
                results[name] = fit(pretraining, rows, seed_keys(pretraining, seeds), tell)
                continue
            platform = jax.devices()[0].platform
            kept = fit_id(pretraining, system.task.name, data.fingerprint, precision, platform)
            results[name] = load_or_fit(folder / name / kept, pretraining, rows, seeds, tell)
    return Pretrained(tuple(seeds), results, fit_normalizer(rows.transitions.obs))


@contextmanager
def progress_bar(title: str, pretraining: Pretraining, console: Console | None = None) -> Iterator[Report]:
    """A progress bar over a fit's epochs."""
    with progress(title, pretraining.max_epochs, console=console) as tick:
        tick.say("compiling and fitting")

        def report(state: FitState, now: Progress) -> None:
            tick(int(now.epochs.max()), f"{pretraining.measure} {float(now.error.mean()):.4g}")

        yield report


def train(
    system: System,
    data: Dataset,
    pretrained: Pretrained | None = None,
    seeds: Sequence[int] = (0,),
    *,
    evaluate_every: int = 5000,
    episodes: int = 10,
    physics: Physics = DEFAULT_PHYSICS,
    judge: Judge | None = None,
    report: Callable[[TrainedRun], None] | None = None,
) -> TrainedRun:
    """Trains `system` on `data`, all seeds in one compiled program, and scores it every `evaluate_every` steps.

    Args:
      system: what is trained, and for how long.
      data: what it is trained on.
      pretrained: what `pretrain` fitted for these seeds; fitted now when None.
      seeds: trained side by side; each is as if it were trained alone, up to rounding.
      evaluate_every: gradient steps between evaluations; they must divide the run.
      episodes: of one evaluation for each seed; 0 for none.
      physics: of the simulator that judges.
      judge: another judge, with a row for each seed and episode, in the simulator's place.
      report: told of the run after every period.

    Raises:
      UserError: the periods do not fit the run, or nothing was fitted for a seed.
    """
    if system.steps % evaluate_every:
        between = f"{system.steps} steps are not a multiple of the {evaluate_every} between evaluations"
        raise UserError(f"{between}; change steps or evaluate_every")
    chosen, rows = tuple(seeds), system.rows(data)
    fitted = pretrain(system, data, chosen, device_data=rows) if pretrained is None else pretrained
    program = compile_program(system.algorithm, evaluate_every)
    run = TrainedRun(system, chosen, program, program.init(lane_keys(chosen, "init"), rows, fitted.of(chosen)))
    if judge is None and episodes:
        judge = Simulator(system.task.robot, len(chosen) * episodes, physics)
    for period in periods(program, run.state, rows, lane_keys(chosen, "train"), 0, system.steps):
        _note(run, period)
        if judge is not None:
            lanes = score_lanes(
                program, program.deploy(run.state), judge, system.task.robot, chosen, period.step, episodes
            )
            run.scores += [record for lane in lanes for record in lane]
        if report:
            report(run)
    return run


def _note(run: TrainedRun, period: Period) -> None:
    run.state, run.step = period.state, period.step
    run.metrics += metric_records(run.seeds, period.step, period.metrics)
