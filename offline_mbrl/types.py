"""The values that pass between rooms; no logic."""

from collections.abc import Callable
from typing import NamedTuple

import jax

Array = jax.Array
Key = jax.Array
"""A typed PRNG key (`jax.random.key`), or a batch of them."""

Metrics = dict[str, Array]
"""Named scalars of one gradient step."""


class Transition(NamedTuple):
    """Environment steps with any leading axes; actions lie in [-1, 1].

    `discount` is 0 at true terminals and 1 everywhere else, time-outs included: a target is
    reward + gamma * discount * value(next_obs).
    """

    obs: Array  # [..., obs_dim]
    action: Array  # [..., action_dim]
    reward: Array  # [...]
    discount: Array  # [...]
    next_obs: Array  # [..., obs_dim]


class Data(NamedTuple):
    """What a compiled program sees of a data set; shared by all seeds, never batched over them."""

    transitions: Transition  # leading axis n
    episode_return: Array  # [n] undiscounted return of the episode that the row belongs to
    is_first: Array  # [n] bool, the row starts an episode
    has_next: Array  # [n] bool, row i + 1 continues the same episode


class Problem(NamedTuple):
    """The static facts of a task that an algorithm is built for."""

    obs_dim: int
    action_dim: int
    terminates: Callable[[Array], Array]
    """[..., obs_dim] next observations -> [...] bool, the known termination rule."""
