"""Sensors that are noisy, drop out or stick, and observations and actions that come a step late.

Each is made anew for a batch of episodes and called once a control step. What is drawn depends on the lane's seed, the
episode and the step alone, never on what else is measured.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SensorName = Literal["noise", "dropped", "stuck", "late_observation", "late_action"]
SENSORS: tuple[SensorName, ...] = get_args(SensorName)

NOISE = 0.05
"""Standard deviation of the noise, of the data's own in that dimension: ROMBRL's 5 %."""

FAILURE, LASTING = 0.05, 5
"""The chance that a working sensor fails at a control step, and for how many steps it does (our choice)."""

Late = Callable[[Floats], Floats]
"""Takes what is now, gives what arrives now; called once a control step."""


class Noise:
    """x + N(0, (share * std)^2) of every sensor [S, P, E, d]; all points P meet the same."""

    def __init__(self, seeds: Sequence[int], std: Floats, share: float = NOISE) -> None:
        self._generators, self._scale = generators(seeds), share * std

    def __call__(self, x: Floats) -> Floats:
        drawn = draw(self._generators, x, np.random.Generator.standard_normal)
        return (x + self._scale * drawn).astype(np.float32)


class Failing:
    """Sensors that fail at random for some steps and show 0, or where `stuck` the last that they showed."""

    def __init__(self, seeds: Sequence[int], stuck: bool, failure: float = FAILURE, lasting: int = LASTING) -> None:
        self._generators, self._stuck, self._failure, self._lasting = generators(seeds), stuck, failure, lasting
        self._left: NDArray[np.int64] | None = None
        self._shown: Floats | None = None

    def __call__(self, x: Floats) -> Floats:
        left = np.zeros(x.shape, np.int64) if self._left is None else np.maximum(self._left - 1, 0)
        fails = (left == 0) & (draw(self._generators, x, np.random.Generator.random) < self._failure)
        self._left = np.where(fails, self._lasting, left)
        instead = (x if self._shown is None else self._shown) if self._stuck else np.zeros_like(x)
        self._shown = np.where(self._left > 0, instead, x).astype(np.float32)
        return self._shown


class Delay:
    """What was one step ago; at the first step what is, or where `nothing_first` zeros."""

    def __init__(self, nothing_first: bool) -> None:
        self._nothing_first = nothing_first
        self._before: Floats | None = None

    def __call__(self, x: Floats) -> Floats:
        first = np.zeros_like(x) if self._nothing_first else x
        before, self._before = first if self._before is None else self._before, x.copy()
        return before


def unchanged(x: Floats) -> Floats:
    """What is."""
    return x


def make_sensors(name: SensorName, seeds: Sequence[int], std: Floats) -> tuple[Late, Late]:
    """What happens to observations on their way to the policy, and to actions on theirs to the robot."""
    match name:
        case "noise":
            return Noise(seeds, std), unchanged
        case "dropped" | "stuck":
            return Failing(seeds, name == "stuck"), unchanged
        case "late_observation":
            return Delay(nothing_first=False), unchanged
        case "late_action":
            return unchanged, Delay(nothing_first=True)


def generators(seeds: Sequence[int]) -> list[np.random.Generator]:
    """One for each lane, apart from those of the episodes' starts."""
    return [np.random.default_rng((seed, 0x5E4505)) for seed in seeds]


def draw(
    each: Sequence[np.random.Generator], like: Floats, law: Callable[..., NDArray[np.float64]]
) -> NDArray[np.float64]:
    """[S, 1, E, d] draws of `law`, for `like` [S, P, E, d]."""
    return np.stack([law(generator, like.shape[-2:]) for generator in each])[:, None]
