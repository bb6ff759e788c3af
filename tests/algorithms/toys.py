"""What the tests of the systems share: problems, data, scalers, critics and worlds small enough to work out by hand."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from offline_mbrl.algorithms.algorithm import Act, Algorithm, Pretrained, State
from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState, empty_ring
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.fit import Fit
from offline_mbrl.dynamics.models.gaussian import GaussianConfig, Weights, init_weights
from offline_mbrl.keys import stream
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.networks import Params
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import fit
from offline_mbrl.training.loop import advance_seed
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

KEY = jax.random.key(7)


# Problems and data.


def endless(obs_dim: int, action_dim: int) -> Problem:
    """A problem that never terminates."""
    return Problem(obs_dim, action_dim, lambda obs: jnp.zeros(obs.shape[:-1], bool))


def random_rows(count: int, obs_dim: int, action_dim: int, seed: int = 0) -> Transition:
    """Normal observations and rewards, actions uniform in the box; every third row, from the first on, is terminal."""
    generator = np.random.default_rng(seed)
    columns = (
        generator.normal(size=(count, obs_dim)),
        generator.uniform(-1, 1, (count, action_dim)),
        generator.normal(size=count),
        np.arange(count) % 3 > 0,
        generator.normal(size=(count, obs_dim)),
    )
    return Transition(*(jnp.asarray(column, jnp.float32) for column in columns))


def data_of(rows: Transition, episode_return: Array | None = None) -> Data:
    """Rows of one endless stretch, where returns of episodes matter only if they are given."""
    count = rows.reward.shape[0]
    returns = jnp.zeros(count) if episode_return is None else episode_return
    return Data(rows, returns, jnp.zeros(count, bool), jnp.ones(count, bool))


def bandit(obs: ArrayLike, action: ArrayLike, reward: ArrayLike) -> Data:
    """Episodes of one step that ends."""
    obs, action, reward = (jnp.asarray(column, jnp.float32) for column in (obs, action, reward))
    ones, zeros = jnp.ones(reward.shape, bool), jnp.zeros(reward.shape, bool)
    return Data(Transition(obs, action, reward, jnp.zeros(reward.shape), obs), reward, ones, zeros)


# Networks and worlds.


def identity(size: int) -> Normalizer:
    """A scaler that changes nothing."""
    return Normalizer(jnp.zeros(size), jnp.ones(size))


def linear(weights: ArrayLike, bias: ArrayLike) -> Params:
    """An MLP without hidden layers: x -> x @ weights + bias."""
    return {"MLP_0": {"Dense_0": {"kernel": jnp.asarray(weights), "bias": jnp.asarray(bias)}}}


def linear_critics(weights: Sequence[Sequence[float]], bias: Sequence[float] | None = None) -> Params:
    """Q_k(s, a) = w_k . (s, a) + b_k, for a `critic_ensemble` without hidden layers."""
    constants = jnp.zeros(len(weights)) if bias is None else jnp.asarray(bias)
    return linear(jnp.asarray(weights)[..., None], constants[:, None])


def linear_world(
    kernel: Array, constant: ArrayLike = 0.0, log_std: float = -20.0, elites: Sequence[int] | None = None
) -> Ensemble:
    """Members without hidden layers: mean of (r, s' - s) = (s, a) @ kernel + constant, one deviation everywhere.

    Args:
      kernel: [members, d + m, d + 1].
      constant: what broadcasts to [members, d + 1].
      log_std: of every output.
      elites: all members unless given.
    """
    members, inputs, outputs = kernel.shape
    mean = jnp.broadcast_to(jnp.asarray(constant, jnp.float32), (members, outputs))
    bias = jnp.concatenate([mean, jnp.full((members, outputs), 2 * log_std)], axis=1)
    layer = Layer(jnp.concatenate([kernel, jnp.zeros_like(kernel)], axis=2), bias)
    weights = Weights((layer,), jnp.full(outputs, -60.0), jnp.full(outputs, 60.0))
    return Ensemble(weights, identity(inputs), jnp.asarray(range(members) if elites is None else elites, jnp.int32))


def untrained_world(config: GaussianConfig, obs_dim: int, action_dim: int, key: Key = KEY) -> Ensemble:
    """An ensemble as it is before its fit; the first members are elites."""
    weights = init_weights(config, obs_dim, action_dim, key)
    return Ensemble(weights, identity(obs_dim + action_dim), jnp.arange(config.elites, dtype=jnp.int32))


def fitted(ensemble: Ensemble, **others: Any) -> Pretrained:
    """What `init` is handed when this world is what was fitted."""
    members = ensemble.weights.layers[0].bias.shape[0]
    return {"dynamics": Fit(ensemble, jnp.zeros(members), jnp.zeros((), jnp.int32)), **others}


def fit_one(pretraining: Pretraining, rows: Transition, key: Key) -> Any:
    """The fit of one key to the rows."""
    return jax.tree.map(lambda leaf: leaf[0], fit(pretraining, data_of(rows), key[None]))


# Running and comparing.


def advance(
    algorithm: Algorithm, state: State, data: Data, steps: int, first: int = 0, seed: int = 0
) -> tuple[State, Metrics]:
    """`steps` gradient steps from number `first`, compiled, with the training loop's keys; means of the metrics."""
    run = jax.jit(partial(advance_seed, algorithm, steps, steps))
    end: tuple[State, Metrics] = run(state, data, jax.random.key(seed), jnp.asarray(first, jnp.int32))
    return end


def train(algorithm: Algorithm, data: Data, steps: int, seed: int = 0) -> tuple[State, Metrics]:
    """The first `steps` gradient steps of a seed."""
    return advance(algorithm, algorithm.init(jax.random.key(seed), data, {}), data, steps, seed=seed)


def actions(act: Act, state: State, obs: Array) -> np.ndarray:
    """The deterministic policy at observations [n, d]: [n, m]."""
    return np.asarray(jax.jit(jax.vmap(lambda one: act(state, one, KEY, True)))(obs))


def differ(x: Any, y: Any) -> bool:
    """Whether any number of two trees differs."""
    return any(bool((a != b).any()) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


def assert_close(x: Any, y: Any, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """All numbers of two trees are close."""
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), x, y)


# A world, a critic and a mixed batch for the systems that judge next states.

PROBLEM = endless(2, 1)
SMALL: dict[str, object] = {"hidden": (), "batch_size": 4, "real_ratio": 0.5, "rollout_batch": 1, "horizon": 1}

Target = Callable[[Any, SAC, BranchedState, Transition, Key], tuple[Array, Metrics]]
"""(config, agent, state, mixed batch, key) -> y [B]: MICRO's and MOBILE's `target`."""


def members_disagree_by(gain: float) -> Ensemble:
    """Two noiseless members: s' = s - gain * a * (1, 0) and s' = s + gain * a * (1, 0)."""
    return linear_world(jnp.zeros((2, 3, 3)).at[0, 2, 1].set(-gain).at[1, 2, 1].set(gain))


def state_in(ensemble: Ensemble, config: BranchedConfig, critic: Params | None = None) -> BranchedState:
    """Both target critics are Q(s, a) = s_0, or `critic`."""
    target = linear_critics([[1.0, 0.0, 0.0]] * 2) if critic is None else critic
    learner = sac.init(sac.make(PROBLEM, config, 1), jax.random.key(0)).replace(target=target)
    return BranchedState(learner, ensemble, empty_ring(config, PROBLEM))


def batch() -> Transition:
    """Two data rows, then two model rows of which the last is terminal; rewards of 10, s' = s."""
    obs = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    action = jnp.array([[1.0], [1.0], [0.5], [1.0]])
    return Transition(obs, action, jnp.full(4, 10.0), jnp.array([1.0, 1.0, 1.0, 0.0]), obs)


def values(target: Target, config: BranchedConfig, ensemble: Ensemble) -> tuple[Array, Metrics]:
    """y of `batch()` in that world, without jit."""
    return target(config, sac.make(PROBLEM, config, 1), state_in(ensemble, config), batch(), KEY)


def soft_values(config: BranchedConfig, ensemble: Ensemble) -> Array:
    """SAC's y of the same batch with the draws of the systems' own backup."""
    learner = state_in(ensemble, config).learner
    return sac.bellman_target(sac.make(PROBLEM, config, 1), learner, batch(), stream(KEY, "value"))


def jitted_over_seeds(target: Target, config: BranchedConfig, ensemble: Ensemble) -> Array:
    """The same y of two equal seeds in one compiled program: [2, B]."""
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state_in(ensemble, config))
    agent = sac.make(PROBLEM, config, 1)
    y: Array = jax.jit(jax.vmap(lambda state: target(config, agent, state, batch(), KEY)[0]))(stacked)
    return y
