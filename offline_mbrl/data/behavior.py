"""A behavior: a stochastic policy that makes data, and the same data on every processor."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from offline_mbrl.data import exact
from offline_mbrl.data.exact import Floats, Linear
from offline_mbrl.nn.networks import GaussianActor, Params
from offline_mbrl.tasks import Robot

Actions = NDArray[np.float32]


class Behavior(NamedTuple):
    """A stochastic policy. Its noise is drawn ahead, for an episode at once, so that it depends on nothing else."""

    draw: Callable[[Generator, int], Floats]  # a number of steps -> their noise [steps, action_dim]
    act: Callable[[NDArray[np.float32], Floats], Actions]  # observations [B, d], noise [B, m] -> actions [B, m]


def uniform(robot: Robot) -> Behavior:
    """Actions uniform in the box [-1, 1]: D4RL's random policy."""
    return Behavior(partial(_draw_uniform, robot.action_dim), lambda obs, noise: noise.astype(np.float32))


def stochastic(actor: Params, log_std_bounds: tuple[float, float] = GaussianActor.log_std_bounds) -> Behavior:
    """Samples tanh(mean + std * eps) of a Gaussian actor of rectified layers.

    In arithmetic that every processor rounds alike (see `exact`): it differs from float32's by what float32 rounds.
    """
    dense = actor["MLP_0"]
    layers = [Linear.of(*(dense[f"Dense_{index}"][part] for part in ("kernel", "bias"))) for index in range(len(dense))]
    return Behavior(partial(_draw_normal, len(layers[-1].bias) // 2), partial(_act, layers, log_std_bounds))


def _draw_uniform(action_dim: int, generator: Generator, steps: int) -> Floats:
    return generator.uniform(-1.0, 1.0, (steps, action_dim))


def _draw_normal(action_dim: int, generator: Generator, steps: int) -> Floats:
    return generator.standard_normal((steps, action_dim))


def _act(layers: list[Linear], log_std_bounds: tuple[float, float], obs: NDArray[np.float32], noise: Floats) -> Actions:
    x = obs.astype(np.float64)
    for layer in layers[:-1]:
        x = np.maximum(layer(x), 0.0)
    mean, log_std = np.split(layers[-1](x), 2, axis=-1)
    return exact.tanh(mean + exact.exp(np.clip(log_std, *log_std_bounds)) * noise).astype(np.float32)
