"""Small problems whose answers are known in closed form, with a dynamics ensemble written by hand.

Each is about how a policy is learned, not about how a model is fitted: the ensemble's weights are given, it is exact
where there is data and wrong in a known way elsewhere. Its units are kinks, relu(w . x + b), made of the network's own
swish: silu(k z) / k is relu(z) to 0.28 / k.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.data.normalizer import Normalizer
from offline_mbrl.dynamics.ensemble import Ensemble, EnsembleConfig, Layer, Weights
from offline_mbrl.keys import stream
from offline_mbrl.training.loop import compile_program
from offline_mbrl.types import Array, Data, Key, Problem, Transition
from tests.overrides import Settings, configure

SHARPNESS = 100.0
MEMBERS = 5
PROBLEM = Problem(obs_dim=1, action_dim=1, terminates=lambda obs: jnp.zeros(obs.shape[:-1], bool))

Step = Callable[[Array, Array, Key], tuple[Array, Array]]
"""The truth: (obs [B, 1], action [B, 1], key) -> (reward [B], next obs [B, 1])."""


class Probe(NamedTuple):
    """A problem of one state and one action dimension that never terminates."""

    data: Data
    ensemble: Ensemble
    step: Step
    starts: Array  # [B, 1]
    horizon: int


def piecewise(
    kinks: list[tuple[float, float, float]],
    mean: list[list[list[float]]],
    constant: list[list[float]],
    logvar: list[float],
) -> Ensemble:
    """Members whose means are piecewise linear in (s, a).

    Args:
      kinks: units relu(w_s s + w_a a + b) as (w_s, w_a, b).
      mean: [members][units][2] weights of the units in (reward, s' - s).
      constant: [members][2] what is added to them.
      logvar: [units + 1] weights of the units, then the constant, of every log-variance.
    """
    weights = np.array(kinks)
    first = Layer(
        jnp.asarray(np.tile(SHARPNESS * weights[:, :2].T, (MEMBERS, 1, 1)), jnp.float32),
        jnp.asarray(np.tile(SHARPNESS * weights[:, 2], (MEMBERS, 1)), jnp.float32),
    )
    noise = np.tile(np.array(logvar)[None, :, None], (MEMBERS, 1, 2))
    second = Layer(
        jnp.asarray(np.concatenate([np.array(mean), noise[:, :-1]], axis=-1) / SHARPNESS, jnp.float32),
        jnp.asarray(np.concatenate([np.array(constant), noise[:, -1]], axis=-1), jnp.float32),
    )
    bounds = jnp.full(2, -20.0), jnp.full(2, 10.0)
    scaler = Normalizer(jnp.zeros(2), jnp.ones(2))
    return Ensemble(Weights((first, second), *bounds), scaler, jnp.arange(MEMBERS, dtype=jnp.int32))


def rows(obs: Array, action: Array, reward: Array, next_obs: Array, episode: int) -> Data:
    """Data of episodes of `episode` rows each, none of them terminal."""
    returns = jnp.repeat(reward.reshape(-1, episode).sum(axis=1), episode)
    place = jnp.arange(reward.shape[0]) % episode
    made = Transition(obs, action, reward, jnp.ones(reward.shape[0]), next_obs)
    return Data(made, returns, place == 0, place < episode - 1)


def relu(x: Array) -> Array:
    return jnp.maximum(x, 0.0)


def trap() -> Probe:
    """Unseen actions look good to the model and are terrible.

    Truth: r = 1 - |a + 0.3| + s - 6 relu(a), s' = s / 2 + noise. The data act uniformly in [-1, 0], so -0.3 is best,
    worth 1 a step; their mean, -0.5, is worth 0.8. The members have the reward 1 - |a + 0.3| + s + 6 relu(a), best at
    a = 1 where it is 5.7 and the truth -6.3. There they also disagree, s' = s / 2 + c_i relu(a), and their deviations
    grow as exp(3 a).
    """
    kinks = [(0.0, 1.0, 0.3), (0.0, -1.0, -0.3), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)]
    spread = np.linspace(-3.0, 3.0, MEMBERS)
    mean = [[[-1.0, 0.0], [-1.0, 0.0], [6.0, c], [1.0, -0.5], [-1.0, 0.5]] for c in spread.tolist()]
    logvar = [0.0, 0.0, 6.0, 0.0, 0.0, -6.0]

    def step(obs: Array, action: Array, key: Key) -> tuple[Array, Array]:
        s, a = obs[:, 0], action[:, 0]
        return 1 - jnp.abs(a + 0.3) + s - 6 * relu(a), 0.5 * obs + 0.05 * jax.random.normal(key, obs.shape)

    keys = jax.random.split(jax.random.key(0), 3)
    obs, action = (
        0.1 * jax.random.normal(keys[0], (1000, 1)),
        jax.random.uniform(keys[1], (1000, 1), minval=-1.0, maxval=0.0),
    )
    data = rows(obs, action, *step(obs, action, keys[2]), episode=20)
    return Probe(data, piecewise(kinks, mean, [[1.0, 0.0]] * MEMBERS, logvar), step, obs[:50], 20)


def stitch() -> Probe:
    """The way to the goal is in the data, but in no episode, and at every state as many act away from it.

    A line: s' = s + a / 4, r = -|s' - 1|. Half the episodes go from -1 to 0 and back; the other half from 0 to 1, and
    then stay. To go right everywhere costs 0.35 a step over 20 steps from -1; a clone is torn between the two
    directions at s < 0, acts 0 on average and loses near 2 a step. The model is right everywhere.
    """
    kinks = [(1.0, 0.25, -1.0), (-1.0, -0.25, 1.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)]
    mean = [[[-1.0, 0.0], [-1.0, 0.0], [0.0, 0.25], [0.0, -0.25]]] * MEMBERS

    def step(obs: Array, action: Array, key: Key) -> tuple[Array, Array]:
        next_obs = obs + 0.25 * action
        return -jnp.abs(next_obs[:, 0] - 1.0), next_obs

    turn = np.array([1, 1, 1, 1, -1, -1, -1, -1.0])
    onward = np.array([1, 1, 1, 1, 0, 0, 0, 0.0])
    generator = np.random.default_rng(0)
    plans = np.where(np.arange(200)[:, None] % 2 == 0, turn, onward) * generator.uniform(0.8, 1.0, (200, 8))
    begins = np.where(np.arange(200) % 2 == 0, -1.0, 0.0) + generator.uniform(-0.05, 0.05, 200)
    positions = begins[:, None] + 0.25 * np.concatenate([np.zeros((200, 1)), plans.cumsum(axis=1)], axis=1)[:, :-1]
    obs, action = (jnp.asarray(x.reshape(-1, 1), jnp.float32) for x in (positions, plans))
    data = rows(obs, action, *step(obs, action, jax.random.key(0)), episode=8)
    model = piecewise(kinks, mean, [[0.0, 0.0]] * MEMBERS, [0.0, 0.0, 0.0, 0.0, -10.0])
    return Probe(data, model, step, jnp.full((50, 1), -1.0), 20)


def noisy() -> Probe:
    """The members disagree about where every action leads; on average they are right.

    Truth: r = s and s' ~ N(0, 0.1^2), so every value is s + 0. Member i leads to c_i in place of 0, with the c_i evenly
    in [-1, 1]: a neutral learner keeps the mean value of 0, a robust one must end lower. With the disagreement u = 2 of
    `max_pair`, MOPO's is exactly -lambda u / (1 - gamma) on model rows.
    """
    kinks = [(1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)]
    spread = np.linspace(-1.0, 1.0, MEMBERS).tolist()

    def step(obs: Array, action: Array, key: Key) -> tuple[Array, Array]:
        return obs[:, 0], 0.1 * jax.random.normal(key, obs.shape)

    keys = jax.random.split(jax.random.key(0), 3)
    obs, action = 0.1 * jax.random.normal(keys[0], (1000, 1)), jax.random.uniform(keys[1], (1000, 1), minval=-1.0)
    data = rows(obs, action, *step(obs, action, keys[2]), episode=20)
    model = piecewise(kinks, [[[1.0, -1.0], [-1.0, 1.0]]] * MEMBERS, [[0.0, c] for c in spread], [0.0, 0.0, -9.0])
    return Probe(data, model, step, obs[:50], 20)


COMMON: Settings = {
    "hidden": (32, 32),
    "batch_size": 64,
    "discount": 0.9,
    "tau": 0.02,
    "actor_lr": 2e-3,
    "critic_lr": 2e-3,
    "value_lr": 2e-3,
    "learning_rate": 2e-3,
    "actor_lr_decay": False,
    "temperature": 0.02,
    "rollout_batch": 200,
    "rollout_every": 100,
    "horizon": 3,
    "retain": 5,
    "dynamics": EnsembleConfig(members=MEMBERS, elites=MEMBERS, hidden=(5,), weight_decay=(0.0, 0.0)).model_dump(),
}
"""Settings by field name for all algorithms; a fast, short run on one core."""


class Outcome(NamedTuple):
    reward: float  # a step, of the deterministic policy under the truth
    metrics: dict[str, float]  # of the last period


def solve(name: str, probe: Probe, own: Settings, steps: int = 1500, period: int = 500) -> Outcome:
    """Trains the algorithm called `name` with `COMMON` and its `own` settings, and scores it under the truth."""
    definition = get_definition(name)
    config = configure(definition, COMMON, own)
    program = compile_program(definition.build(PROBLEM, config, steps), period)
    key = jax.random.key(0)[None]
    ensemble = jax.tree.map(lambda leaf: leaf[None], probe.ensemble) if definition.ensemble else None
    state = program.init(key, probe.data, ensemble)
    for start in range(0, steps, period):
        state, metrics = program.advance(state, probe.data, key, start)
    state = program.deploy(state)
    reward = mean_reward(probe, lambda obs: program.act(state, obs[None])[0])
    return Outcome(reward, {quantity: float(values[0]) for quantity, values in metrics.items()})


def mean_reward(probe: Probe, policy: Callable[[Array], Array]) -> float:
    """The reward of a step under the true dynamics, averaged over starts and time."""

    def advance(obs: Array, key: Key) -> tuple[Array, Array]:
        reward, next_obs = probe.step(obs, policy(obs), key)
        return next_obs, reward

    run: Any = jax.jit(
        lambda starts: jax.lax.scan(advance, starts, jax.random.split(jax.random.key(1), probe.horizon))[1]
    )
    return float(run(probe.starts).mean())


def online_batch(key: Key, size: int, values: dict[str, Array]) -> Transition:
    """`size` rows of a tabulated bandit or chain, for value checks: every leaf of `values` is indexed alike."""
    index = jax.random.randint(stream(key, "row"), (size,), 0, values["reward"].shape[0])
    picked = {name: value[index] for name, value in values.items()}
    return Transition(**picked)
