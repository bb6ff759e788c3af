"""All measurements of one world model under one way of acting, as a record."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.keys import stream
from offline_mbrl.model_error.calibration import calibration
from offline_mbrl.model_error.errors import reward_errors, state_errors, termination
from offline_mbrl.model_error.penalties import correlations, step_error
from offline_mbrl.model_error.play import NumPyPolicy, Plan, Played, Rows, data_plan, play, policy_plan, random_plan
from offline_mbrl.model_error.truth import Truth
from offline_mbrl.model_error.world import Path, World, mean_path, one_step, sampled_paths
from offline_mbrl.simulation.rules import Floats


class Scale(NamedTuple):
    """What errors are divided by: the data's standard deviations, 1 for what does not vary."""

    obs: Floats  # [d]
    reward: float


def scale_of(dataset: Dataset) -> Scale:
    """The deviations over all rows."""
    obs, reward = dataset.observations.std(0, dtype=np.float64), float(dataset.rewards.std(dtype=np.float64))
    return Scale(np.where(obs > 0, obs, 1.0), reward or 1.0)


def plans(dataset: Dataset, rows: Rows, horizon: int, seed: int, policy: NumPyPolicy | None) -> dict[str, Plan]:
    """The ways of acting from `rows`: the data's, a policy's where there is one, and uniform actions."""
    found = {"data": data_plan(dataset, rows, horizon)}
    if policy is not None:
        found["policy"] = policy_plan(policy, len(rows), horizon)
    return found | {"random": random_plan(len(rows), dataset.actions.shape[1], horizon, seed)}


def measure(
    world: World, truth: Truth, starts: NDArray[np.floating], plan: Plan, scale: Scale, samples: int, seed: int
) -> dict[str, Any]:
    """The record of one way of acting.

    Args:
      world: the model.
      truth: the system, with as many rows as there are starts.
      starts: [B, d].
      plan: how they are acted on.
      scale: of the data.
      samples: sampled paths of each row.
      seed: of the model's draws.
    """
    key, played = jax.random.key(seed), play(truth, starts, plan)
    begin, actions = jnp.asarray(starts, jnp.float32), jnp.asarray(played.action)
    paths = {
        "mean": _alone(mean_path(world, begin, actions)),
        "samples": sampled_paths(world, begin, actions, stream(key, "paths"), samples),
    }
    open_loop = {name: _path_record(world, played, path, scale) for name, path in paths.items()}
    return {"open_loop": open_loop} | _one_step_record(world, played, scale, stream(key, "member"))


def _path_record(world: World, played: Played, path: Path, scale: Scale) -> dict[str, Any]:
    obs, reward = np.asarray(path.obs, np.float64), np.asarray(path.reward, np.float64)
    ends = np.asarray(world.terminates(path.obs[0]))
    return {
        "state": state_errors(played, obs, scale.obs),
        "reward": reward_errors(played, reward, scale.reward),
        "termination": termination(played, ends),
    }


def _one_step_record(world: World, played: Played, scale: Scale, key: jax.Array) -> dict[str, Any]:
    """Calibration, and what the penalties tell of the error, over the first step of every row."""
    chosen = np.flatnonzero(played.alive[0])
    obs, action = jnp.asarray(played.obs[0, chosen], jnp.float32), jnp.asarray(played.action[0, chosen])
    step, elites = one_step(world, obs, action), np.asarray(world.ensemble.elites)
    true = np.concatenate([played.reward[0, chosen, None], played.obs[1, chosen] - played.obs[0, chosen]], axis=-1)
    mean, std = np.asarray(step.units.mean, np.float64), np.asarray(step.units.std, np.float64)
    member = elites[np.asarray(jax.random.randint(key, chosen.shape, 0, len(elites)))]
    error = step_error(mean, elites, true, scale.obs)
    found = correlations(step.own, member, error)
    return {
        "rows": len(chosen),
        "calibration": calibration(mean, std, elites, true),
        "penalties": {name: one._asdict() for name, one in found.items()},
        "error": {"median": float(np.median(error)), "p90": float(np.quantile(error, 0.9))},
    }


def _alone(path: Path) -> Path:
    """One path as several."""
    return Path(path.reward[None], path.obs[None])
