"""Control steps per second of the batched simulator and of Gymnasium's SyncVectorEnv, the same policy in both loops."""

import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from json import dumps
from statistics import median

import gymnasium
import jax
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import ROBOTS, Robot

Policy = Callable[[NDArray[np.float32]], NDArray[np.float32]]

GYMNASIUM = {"halfcheetah": "HalfCheetah-v4", "hopper": "Hopper-v4", "walker2d": "Walker2d-v4"}


def make_policy(robot: Robot, width: int = 256) -> Policy:
    """A jitted tanh policy with two hidden layers, freshly initialized."""
    sizes = (robot.obs_dim, width, width, robot.action_dim)
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = zip(keys, pairwise(sizes), strict=True)
    weights = [jax.random.normal(key, shape) / shape[0] ** 0.5 for key, shape in shapes]

    @jax.jit
    def act(obs: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(jax.nn.relu(obs @ weights[0]) @ weights[1])
        return jax.numpy.tanh(hidden @ weights[2])

    return lambda obs: np.asarray(act(obs))


def run_ours(simulator: Simulator, policy: Policy, steps: int) -> None:
    """Step every row, restarting those that end."""
    obs, seed = simulator.reset(range(simulator.num_envs)), simulator.num_envs
    for _ in range(steps):
        step = simulator.step(policy(obs.astype(np.float32)))
        rows = np.flatnonzero(step.terminated | step.truncated)
        obs, seed = simulator.reset(range(seed, seed + len(rows)), rows) if len(rows) else step.obs, seed + len(rows)


def run_gymnasium(environments: SyncVectorEnv, policy: Policy, steps: int) -> None:
    """The same with Gymnasium's own automatic restart, within the step that ends an episode."""
    obs, _ = environments.reset(seed=0)
    for _ in range(steps):
        obs, *_ = environments.step(policy(obs.astype(np.float32)))


def rate(run: Callable[[], None], env_steps: int) -> float:
    """Environment steps per second of one run."""
    start = time.perf_counter()
    run()
    return env_steps / (time.perf_counter() - start)


def measure(robot: Robot, num_envs: int, steps: int, repeats: int) -> dict[str, float | str]:
    """Median steps/s of both and of their ratio; they take turns, so that a busy machine slows both."""
    policy, simulator = make_policy(robot), Simulator(robot, num_envs, "gymnasium-v4")
    makers = [lambda: gymnasium.make(GYMNASIUM[robot.name])] * num_envs
    environments = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    run_ours(simulator, policy, 1)
    pairs = [
        (
            rate(lambda: run_ours(simulator, policy, steps), steps * num_envs),
            rate(lambda: run_gymnasium(environments, policy, steps), steps * num_envs),
        )
        for _ in range(repeats)
    ]
    ours, theirs = (median(column) for column in zip(*pairs, strict=True))
    ratio = median(a / b for a, b in pairs)
    return {"robot": robot.name, "ours": ours, "gymnasium": theirs, "ratio": ratio, "threads": simulator.threads}


def main(num_envs: int = 40, steps: int = 200, repeats: int = 5, json: bool = False) -> None:
    """Measure every robot and print a line for each.

    Args:
        num_envs: Environments in the batch.
        steps: Control steps of one timed run.
        repeats: Timed runs of each side, interleaved; medians are printed.
        json: Print one JSON object a line.
    """
    warnings.simplefilter("ignore")  # Gymnasium's, that v4 is superseded
    for robot in ROBOTS.values():
        row = measure(robot, num_envs, steps, repeats)
        text = "{robot:12} ours {ours:8,.0f}/s  SyncVectorEnv {gymnasium:8,.0f}/s  ratio {ratio:.2f}  threads {threads}"
        print(dumps(row) if json else text.format(**row), flush=True)


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
