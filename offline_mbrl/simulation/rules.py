"""What each robot observes, is paid and survives, and how it starts: Gymnasium's v4 rules, which equal Gym's v2 ones.

Positions are `qpos` [..., nq] and velocities `qvel` [..., nv] in MuJoCo's generalized coordinates, whose first three
are x [m], z [m] and the torso's angle [rad].
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Noise = Callable[[np.random.Generator, int, int], tuple[Floats, Floats]]


class Rules(NamedTuple):
    """The task that a robot is given."""

    velocity_limit: float  # observed velocities are clipped to +- this
    control_cost: float  # per unit of squared action
    alive_reward: float  # per step, the terminal one included
    healthy: Callable[[Floats, Floats], Bools]  # (qpos, qvel) -> [...]
    noise: Noise  # (generator, nq, nv) -> offsets of the initial qpos and qvel, drawn in this order


def observe(rules: Rules, qpos: Floats, qvel: Floats) -> Floats:
    """[..., nq - 1 + nv]: the positions without x, then the clipped velocities."""
    velocity = np.clip(qvel, -rules.velocity_limit, rules.velocity_limit)
    return np.concatenate([qpos[..., 1:], velocity], axis=-1)


def reward(rules: Rules, x_velocity: Floats, action: NDArray[np.floating]) -> Floats:
    """[...]: x velocity [m/s] + alive reward - cost * |action|^2, the cost in the precision of the action."""
    cost: Floats = rules.control_cost * np.sum(np.square(action), axis=-1)
    return x_velocity + rules.alive_reward - cost


def hopper_healthy(qpos: Floats, qvel: Floats) -> Bools:
    """Height z > 0.7, |angle| < 0.2 and every coordinate but x and z within +-100; NaN is unhealthy."""
    bounded = (np.abs(qpos[..., 2:]) < 100).all(-1) & (np.abs(qvel) < 100).all(-1)
    return bounded & (qpos[..., 1] > 0.7) & np.isfinite(qpos[..., 1]) & (np.abs(qpos[..., 2]) < 0.2)


def walker2d_healthy(qpos: Floats, qvel: Floats) -> Bools:
    """Height 0.8 < z < 2 and |angle| < 1; NaN in either is unhealthy."""
    return (qpos[..., 1] > 0.8) & (qpos[..., 1] < 2.0) & (np.abs(qpos[..., 2]) < 1.0)


def always_healthy(qpos: Floats, qvel: Floats) -> Bools:
    """The half cheetah never ends an episode."""
    return np.ones(qpos.shape[:-1], np.bool_)


def uniform_noise(generator: np.random.Generator, nq: int, nv: int) -> tuple[Floats, Floats]:
    """Hopper and walker: U(-0.005, 0.005) on positions and velocities."""
    return generator.uniform(-5e-3, 5e-3, nq), generator.uniform(-5e-3, 5e-3, nv)


def cheetah_noise(generator: np.random.Generator, nq: int, nv: int) -> tuple[Floats, Floats]:
    """Half cheetah: U(-0.1, 0.1) on positions, N(0, 0.1^2) on velocities."""
    return generator.uniform(-0.1, 0.1, nq), 0.1 * generator.standard_normal(nv)


RULES: dict[str, Rules] = {
    "halfcheetah": Rules(np.inf, 0.1, 0.0, always_healthy, cheetah_noise),
    "hopper": Rules(10.0, 1e-3, 1.0, hopper_healthy, uniform_noise),
    "walker2d": Rules(10.0, 1e-3, 1.0, walker2d_healthy, uniform_noise),
}
