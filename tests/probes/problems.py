"""Small problems whose answers are known in closed form, with a dynamics ensemble written by hand.

Each is about how a policy is learned, not about how a model is fitted: the ensemble's weights are given, it is exact
where there is data and wrong in a known way elsewhere. Its units are kinks, relu(w . x + b), made of the network's own
swish: silu(k z) / k is relu(z) to 0.28 / k. All data have as many rows and all ensembles as many units, so that one
compiled program runs on every problem.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models.gaussian import Weights
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Data, Transition

SHARPNESS = 100.0
UNITS = 5
HORIZON = 20
OPINIONS = (0.0, 0.5, -0.5, 1.0, -1.0)
"""c_i, what sets the members apart; the first, which is alone where a system has one model, is right."""

MEMBERS = len(OPINIONS)

Numbers = np.ndarray
Step = Callable[[Numbers, Numbers, np.random.Generator], tuple[Numbers, Numbers]]
"""The truth: (s [...], action [..., m], noise) -> (reward [...], next s [...])."""


class Probe(NamedTuple):
    """A problem with one state dimension that never terminates."""

    data: Data
    ensemble: Ensemble | None
    step: Step
    starts: Numbers  # [E]


def piecewise(
    kinks: list[tuple[float, float, float]],
    mean: list[list[list[float]]],
    constant: list[list[float]],
    logvar: list[float],
) -> Ensemble:
    """Members whose means are piecewise linear in (s, a).

    Args:
      kinks: at most `UNITS` units relu(w_s s + w_a a + b) as (w_s, w_a, b).
      mean: [members][units][2] weights of the units in (reward, s' - s).
      constant: [members][2] what is added to them.
      logvar: [units + 1] weights of the units, then the constant, of every log-variance.
    """
    unused = UNITS - len(kinks)
    weights = np.pad(np.array(kinks), ((0, unused), (0, 0)))
    first = Layer(
        jnp.asarray(np.tile(SHARPNESS * weights[:, :2].T, (MEMBERS, 1, 1)), jnp.float32),
        jnp.asarray(np.tile(SHARPNESS * weights[:, 2], (MEMBERS, 1)), jnp.float32),
    )
    noise = np.tile(np.array(logvar)[None, :, None], (MEMBERS, 1, 2))
    outputs = np.concatenate([np.array(mean), noise[:, :-1]], axis=-1) / SHARPNESS
    second = Layer(
        jnp.asarray(np.pad(outputs, ((0, 0), (0, unused), (0, 0))), jnp.float32),
        jnp.asarray(np.concatenate([np.array(constant), noise[:, -1]], axis=-1), jnp.float32),
    )
    bounds = jnp.full(2, -20.0), jnp.full(2, 10.0)
    scaler = Normalizer(jnp.zeros(2), jnp.ones(2))
    return Ensemble(Weights((first, second), *bounds), scaler, jnp.arange(MEMBERS, dtype=jnp.int32))


def standardized(ensemble: Ensemble, observations: Normalizer) -> Ensemble:
    """The same ensemble as a model of z-scored observations: it reads z = (s - m) / d and tells (r, z' - z)."""
    m, d = observations.mean[0], observations.std[0]
    inputs = Normalizer(jnp.array([-m / d, 0.0]), jnp.array([1 / d, 1.0]))
    first, second = ensemble.weights.layers
    scale, shift = jnp.array([1.0, 1 / d, 1.0, 1.0]), jnp.array([0.0, 0.0, 0.0, -2 * jnp.log(d)])
    layers = first, Layer(second.weight * scale, second.bias * scale + shift)
    return ensemble.replace(weights=ensemble.weights.with_layers(layers), inputs=inputs)


def play(step: Step, starts: Numbers, actions: Numbers, noise: np.random.Generator) -> Data:
    """Data of episodes from starts [n] under given actions [n, length, m], none of them terminal."""
    obs, made = starts, []
    for time in range(actions.shape[1]):
        reward, next_obs = step(obs, actions[:, time], noise)
        made.append((obs, reward, next_obs))
        obs = next_obs
    columns = (np.stack(column, axis=1) for column in zip(*made, strict=True))
    before, rewards, after = (jnp.asarray(column, jnp.float32).reshape(-1) for column in columns)
    length, flat = actions.shape[1], jnp.asarray(actions, jnp.float32).reshape(-1, actions.shape[2])
    place = jnp.arange(rewards.shape[0]) % length
    returns = jnp.repeat(rewards.reshape(-1, length).sum(axis=1), length)
    rows = Transition(before[:, None], flat, rewards, jnp.ones(rewards.shape), after[:, None])
    return Data(rows, returns, place == 0, place < length - 1)


def relu(x: Numbers) -> Numbers:
    return np.maximum(x, 0.0)


@cache
def trap() -> Probe:
    """Unseen actions look good to the model, and to whoever extrapolates, and are terrible.

    Truth: r = 1 + a + s - 7 relu(a), s' = s / 2 + noise. The data act in [-1, 0], each episode about a level of its
    own: the last action before the cliff, 0, is worth 1 a step, their mean 0.5, and an action of 1 is worth -5. The
    members go on, r = 1 + a + s, and promise 2 there. Beyond the cliff they disagree,
    s' = s / 2 + 3 c_i (relu(a) + (1 + a) / 100) with the c_i evenly in [-1, 1], and their deviations grow as exp(3 a).
    """
    kinks = [(0.0, 1.0, 0.0), (0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)]
    mean = [[[0.0, 3 * c], [1.0, 0.03 * c], [1.0, -0.5], [-1.0, 0.5]] for c in OPINIONS]
    model = piecewise(kinks, mean, [[0.0, 0.0]] * MEMBERS, [6.0, 0.0, 0.0, 0.0, -6.0])

    def step(s: Numbers, action: Numbers, noise: np.random.Generator) -> tuple[Numbers, Numbers]:
        a = action[..., 0]
        return 1 + a + s - 7 * relu(a), 0.5 * s + 0.05 * noise.normal(size=s.shape)

    noise = np.random.default_rng(0)
    levels = np.linspace(-0.9, -0.1, 80)[:, None, None]
    data = play(step, 0.1 * noise.normal(size=80), levels + noise.uniform(-0.1, 0.1, (80, 20, 1)), noise)
    return Probe(data, model, step, np.zeros(50))


@cache
def stitch() -> Probe:
    """The way to the goal is in the data, but in no episode, and at every state as many act away from it.

    A line with a wall: s' = min(s + a / 4, 1), r = s' - 1. Half the episodes go from -1 to 0 and back; the other half
    from 0 to 1, and then stay. To go right everywhere costs 0.35 a step over 20 steps from -1; a clone is torn between
    the two directions at s < 0, acts 0 on average and loses near 2 a step. The model is right everywhere.
    """
    kinks = [(1.0, 0.25, -1.0), (-1.0, -0.25, 1.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)]
    mean = [[[0.0, -1.0], [-1.0, 0.0], [0.0, 0.25], [0.0, -0.25]]] * MEMBERS
    model = piecewise(kinks, mean, [[0.0, 0.0]] * MEMBERS, [0.0, 0.0, 0.0, 0.0, -10.0])

    def step(s: Numbers, action: Numbers, noise: np.random.Generator) -> tuple[Numbers, Numbers]:
        next_s = np.minimum(s + 0.25 * action[..., 0], 1.0)
        return next_s - 1.0, next_s

    turn, onward = np.array([1, 1, 1, 1, -1, -1, -1, -1.0]), np.array([1, 1, 1, 1, 0, 0, 0, 0.0])
    noise = np.random.default_rng(0)
    even = np.arange(200) % 2 == 0
    actions = np.where(even[:, None], turn, onward) * noise.uniform(0.8, 1.0, (200, 8))
    data = play(step, np.where(even, -1.0, 0.0) + noise.uniform(-0.05, 0.05, 200), actions[..., None], noise)
    return Probe(data, model, step, np.full(50, -1.0))


@cache
def noisy() -> Probe:
    """The members disagree about where every action leads; on average they are right.

    Truth: r = s and s' ~ N(0, 0.1^2), so every value is s + 0. Member i leads to c_i in place of 0, with the c_i evenly
    in [-1, 1]: a neutral learner keeps the mean value of 0, a robust one must end lower. What a system takes off every
    step, p, lowers its value on model rows by exactly p / (1 - gamma).
    """
    kinks = [(1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)]
    means = [[[1.0, -1.0], [-1.0, 1.0]]] * MEMBERS
    model = piecewise(kinks, means, [[0.0, c] for c in OPINIONS], [0.0, 0.0, -9.0])

    def step(s: Numbers, action: Numbers, noise: np.random.Generator) -> tuple[Numbers, Numbers]:
        return s + 0 * action[..., 0], 0.1 * noise.normal(size=s.shape)

    noise = np.random.default_rng(0)
    data = play(step, 0.1 * noise.normal(size=80), noise.uniform(-1, 1, (80, 20, 1)), noise)
    return Probe(data, model, step, np.zeros(50))


@cache
def ridge() -> Probe:
    """Two action dimensions, of which the data move in the first alone; whoever leaves their line falls off.

    Truth: r = 1 - |a_1 - 0.3| + s - 6 |a_2|, s' = s / 2 + noise. The data have a_1 anywhere and |a_2| below 0.01, so
    that a value's slope along a_2 is whatever its weights began with. On the line the best action is worth 1 a step,
    the mean one 0.45; at a_2 = 1 or -1 nothing is worth more than -5.
    """

    def step(s: Numbers, action: Numbers, noise: np.random.Generator) -> tuple[Numbers, Numbers]:
        first, second = np.abs(action[..., 0] - 0.3), np.abs(action[..., 1])
        return 1 - first + s - 6 * second, 0.5 * s + 0.05 * noise.normal(size=s.shape)

    noise = np.random.default_rng(0)
    actions = noise.uniform(-1, 1, (80, 20, 2)) * np.array([1.0, 0.01])
    return Probe(play(step, 0.1 * noise.normal(size=80), actions, noise), None, step, np.zeros(50))


PROBES: dict[str, Callable[[], Probe]] = {"trap": trap, "stitch": stitch, "noisy": noisy, "ridge": ridge}


def mean_reward(probe: Probe, policy: Callable[[Numbers], Numbers]) -> Numbers:
    """The reward of a step under the true dynamics, averaged over starts and time.

    `policy` maps states [..., E] to actions [..., E, m]; what its actions have as leading axes, the result has too.
    """
    noise, obs, rewards = np.random.default_rng(1), probe.starts, []
    for _ in range(HORIZON):
        reward, obs = probe.step(obs, policy(obs), noise)
        rewards.append(reward.mean(axis=-1))
    mean: Numbers = np.mean(rewards, axis=0)
    return mean
