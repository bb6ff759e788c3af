"""How far a policy leaves its data: distances of its state-action pairs to the nearest ones of the data.

A pair is (s, a) with every dimension divided by the data's standard deviation; its distance is Euclidean, over the
square root of the number of dimensions. Distances between rows of the data, each to its nearest other one, say what is
near: a pair beyond their 95 % quantile is counted as outside.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.source import load
from offline_mbrl.selection.candidates import Policies, open_policies
from offline_mbrl.simulation.evaluate import Judge, evaluate, reset_seeds
from offline_mbrl.simulation.rules import Bools, Floats
from offline_mbrl.simulation.simulator import Simulator, Step
from offline_mbrl.storage import records
from offline_mbrl.training.job import Paths, read_job

VERSION = 1
"""Raised when a change moves the numbers: older records are then made again."""

FILE = "coverage.json"
"""Within a run's folder."""

REFERENCE = 100_000
"""Most rows of the data that are searched."""

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Quantiles of the distances that are kept."""

NEAR = 0.95
"""The quantile of the data's own distances beyond which a pair is outside."""


class Plan(NamedTuple):
    """What is measured; all of it enters the record."""

    rows: int = 2000  # pairs of each kind that distances are measured for, at most
    episodes: int = 5  # of each policy in the simulator
    draw: int = 0


class Neighbors:
    """The data's pairs in a tree, in their own units."""

    def __init__(self, obs: NDArray[np.floating], action: NDArray[np.floating]) -> None:
        pairs = np.concatenate([obs, action], axis=-1).astype(np.float64)
        std = pairs.std(axis=0)
        self._std = np.where(std > 0, std, 1.0) * np.sqrt(pairs.shape[-1])
        self._tree = cKDTree(pairs / self._std)

    def distance(self, obs: NDArray[np.floating], action: NDArray[np.floating], rank: int = 1) -> Floats:
        """[B] distance to the nearest pair of the data, or the `rank`-th nearest."""
        pairs = np.concatenate([obs, action], axis=-1) / self._std
        found: Floats = self._tree.query(pairs, k=[rank])[0][:, 0]
        return found


class Recording:
    """A judge that keeps what every live row did: a pair of observation and action for each step."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._obs: Floats = np.zeros(0)
        self.steps: list[tuple[Floats, NDArray[np.floating], Bools]] = []

    def reset(self, seeds: Any) -> Floats:
        self._obs = self._judge.reset(seeds)
        return self._obs

    def step(self, actions: NDArray[np.floating], active: Bools | None = None) -> Step:
        live = np.ones(len(actions), np.bool_) if active is None else active
        self.steps.append((self._obs.copy(), np.array(actions), live.copy()))
        step = self._judge.step(actions, active)
        self._obs = step.obs
        return step


class Visited(NamedTuple):
    """The pairs of one policy's episodes, and their returns."""

    obs: Floats  # [n, d]
    action: NDArray[np.floating]  # [n, m]
    returns: Floats  # [E]


def cover_run(run: Path, plan: Plan, paths: Paths) -> records.Record:
    """The record of a run's policies as they were last saved, read from its folder or measured and kept there.

    Raises:
      UserError: there is no run in the folder, or no checkpoint yet.
    """
    job = read_job(run)
    dataset = load(job.task, job.source, job.size, job.physics, paths.data, paths.cache)
    policies = open_policies(run, paths)[-1]
    about = {
        "version": VERSION,
        "job": job.id,
        "algorithm": job.algorithm,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "step": policies.step,
        **plan._asdict(),
    }
    before = records.read_json(run / FILE)
    if before is not None and before["about"] == about:
        return dict(before)
    visited = visit(policies, plan)
    record = {"about": about, **cover(dataset, policies, visited, plan)}
    records.write_json(run / FILE, record)
    draw_states(dataset, visited, run / "coverage.png")
    return record


def cover(dataset: Dataset, policies: Policies, visited: dict[int, Visited], plan: Plan) -> dict[str, Any]:
    """Distances of data, of uniform actions, and of every policy in the data's states and in those that it reaches."""
    generator = np.random.default_rng(plan.draw)
    known = generator.permutation(len(dataset))[:REFERENCE]
    neighbors = Neighbors(dataset.observations[known], dataset.actions[known])
    rows = known[: plan.rows]
    obs, actions = dataset.observations[rows], dataset.actions[rows]
    own = neighbors.distance(obs, actions, rank=2)  # the nearest is the row itself
    near = float(np.quantile(own, NEAR))
    uniform = generator.uniform(-1, 1, actions.shape)
    chosen = dict(zip(policies.seeds, np.asarray(policies.act_alike(obs)), strict=True))
    return {
        "near": near,
        "data": summary(own, near),
        "random": summary(neighbors.distance(obs, uniform), near),
        "seeds": [
            {
                "seed": seed,
                "in data states": summary(neighbors.distance(obs, chosen[seed]), near),
                "in own states": summary(neighbors.distance(*_some(path, plan.rows, generator)), near),
                "action change": float(np.sqrt(np.square(chosen[seed] - actions).mean())),
                "score": float(dataset.task.robot.normalized_score(path.returns).mean()),
            }
            for seed, path in visited.items()
        ],
    }


def summary(distances: Floats, near: float) -> dict[str, Any]:
    """Quantiles at `SHARES`, the mean, and the share that lies further than `near`."""
    return {
        "quantiles": dict(zip(map(str, SHARES), np.quantile(distances, SHARES), strict=True)),
        "mean": float(distances.mean()),
        "outside": float((distances > near).mean()),
    }


def visit(policies: Policies, plan: Plan) -> dict[int, Visited]:
    """The episodes of every seed's policy, by seed."""
    count, episodes = len(policies.seeds), plan.episodes
    judge = Recording(Simulator(policies.system.task.robot, count * episodes, policies.job.physics))
    starts = reset_seeds(policies.seeds, 2**31 + plan.draw, episodes)
    played = evaluate(lambda obs: policies.act(jnp.asarray(obs)), judge, starts)
    obs, action, live = (np.stack(column) for column in zip(*judge.steps, strict=True))
    owner = np.repeat(np.arange(count), episodes)
    found = {}
    for place, seed in enumerate(policies.seeds):
        kept = live & (owner == place) & np.isfinite(action).all(axis=-1)
        found[seed] = Visited(obs[kept], action[kept], played.returns[place])
    return found


def draw_states(dataset: Dataset, visited: dict[int, Visited], path: Path, rows: int = 5000) -> Path:
    """Writes a PNG of data states and a policy's states along the data's two principal directions; returns `path`."""
    from matplotlib.figure import Figure

    from offline_mbrl.storage.files import write_atomically

    data = dataset.observations[np.random.default_rng(0).permutation(len(dataset))[:rows]]
    directions = principal_directions(data)
    figure = Figure(figsize=(4.2 * len(visited), 3.8), layout="constrained")
    for axes, (seed, own) in zip(figure.subplots(1, len(visited), squeeze=False)[0], visited.items(), strict=True):
        axes.scatter(*directions.project(data).T, s=2, color="0.7", label="data", rasterized=True)
        axes.scatter(*directions.project(own.obs[:rows]).T, s=2, color="#D55E00", label="policy", rasterized=True)
        axes.set(xlabel="first principal direction", ylabel="second", title=f"states, seed {seed}")
        axes.legend(frameon=False, fontsize=8, markerscale=4)
    with write_atomically(path) as file:
        figure.savefig(file, format="png", dpi=130)
    return path


class Directions(NamedTuple):
    """Two directions in standardized observations."""

    mean: Floats  # [d]
    std: Floats  # [d]
    axes: Floats  # [d, 2] orthonormal

    def project(self, obs: NDArray[np.floating]) -> Floats:
        """[B, 2] coordinates of observations [B, d]."""
        coordinates: Floats = (obs - self.mean) / self.std @ self.axes
        return coordinates


def principal_directions(obs: NDArray[np.floating]) -> Directions:
    """The two directions along which standardized rows [n, d] vary most."""
    mean, std = obs.mean(axis=0, dtype=np.float64), obs.std(axis=0, dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    values, vectors = np.linalg.eigh(np.cov((obs - mean) / std, rowvar=False))
    return Directions(mean, std, vectors[:, np.argsort(values)[::-1][:2]])


def _some(visited: Visited, rows: int, generator: np.random.Generator) -> tuple[Floats, NDArray[np.floating]]:
    """Some of the pairs, in random order."""
    chosen = generator.permutation(len(visited.obs))[:rows]
    return visited.obs[chosen], visited.action[chosen]
