"""A world, a critic and a mixed batch small enough to work targets out by hand, for systems that judge next states."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState, empty_ring
from offline_mbrl.algorithms.parts.sac import SAC
from offline_mbrl.dynamics.ensemble import Ensemble, Layer, Weights
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array, Key, Metrics, Problem, Transition

PROBLEM = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))
KEY = jax.random.key(7)
SMALL: dict[str, object] = {"hidden": (), "batch_size": 4, "real_ratio": 0.5, "rollout_batch": 1, "horizon": 1}

Target = Callable[[Any, SAC, BranchedState, Transition, Key], tuple[Array, Metrics]]
"""(config, agent, state, mixed batch, key) -> y [B]: MICRO's and MOBILE's `target`."""


def members_disagree_by(gain: float) -> Ensemble:
    """Two noiseless members: s' = s - gain * a * (1, 0) and s' = s + gain * a * (1, 0)."""
    kernel = jnp.zeros((2, 3, 6)).at[0, 2, 1].set(-gain).at[1, 2, 1].set(gain)
    bias = jnp.tile(jnp.array([0.0, 0.0, 0.0, -40.0, -40.0, -40.0]), (2, 1))
    weights = Weights((Layer(kernel, bias),), jnp.full(3, -60.0), jnp.full(3, 60.0))
    return Ensemble(weights, Normalizer(jnp.zeros(3), jnp.ones(3)), jnp.array([0, 1], jnp.int32))


def state_in(ensemble: Ensemble, config: BranchedConfig) -> BranchedState:
    """Both critics are Q(s, a) = s_0."""
    kernel = jnp.tile(jnp.array([[1.0], [0.0], [0.0]]), (2, 1, 1))
    critic = {"MLP_0": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros((2, 1))}}}
    learner = sac.init(sac.make(PROBLEM, config, 1), jax.random.key(0)).replace(target=critic)
    return BranchedState(learner, ensemble, empty_ring(config, PROBLEM))


def batch() -> Transition:
    """Two data rows, then two model rows of which the last is terminal; rewards of 10, s' = s."""
    obs = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    action = jnp.array([[1.0], [1.0], [0.5], [1.0]])
    return Transition(obs, action, jnp.full(4, 10.0), jnp.array([1.0, 1.0, 1.0, 0.0]), obs)


def values(target: Target, config: BranchedConfig, ensemble: Ensemble) -> tuple[Array, Metrics]:
    """y of `batch()` in that world, without jit."""
    return target(config, sac.make(PROBLEM, config, 1), state_in(ensemble, config), batch(), KEY)


def jitted_over_seeds(target: Target, config: BranchedConfig, ensemble: Ensemble) -> Array:
    """The same y of two equal seeds in one compiled program: [2, B]."""
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state_in(ensemble, config))
    agent = sac.make(PROBLEM, config, 1)
    y: Array = jax.jit(jax.vmap(lambda state: target(config, agent, state, batch(), KEY)[0]))(stacked)
    return y
