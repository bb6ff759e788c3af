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


class Interval(NamedTuple):
    """Consecutive rows of an array."""

    first: Array  # int32, the number of the first row
    size: Array  # int32, how many rows


class Data(NamedTuple):
    """What a compiled program sees of a data set; its rows are shared by all lanes, never batched over them.

    Where the sets of several tasks lie end to end, `own` says which rows are a lane's; None stands for all.
    """

    transitions: Transition  # leading axis n
    episode_return: Array  # [n] undiscounted return of the episode that the row belongs to
    is_first: Array  # [n] bool, the row starts an episode
    has_next: Array  # [n] bool, row i + 1 continues the same episode
    own: Interval | None = None


class Problem(NamedTuple):
    """The static facts of a task that an algorithm is built for."""

    obs_dim: int
    action_dim: int
    terminates: Callable[[Array], Array]
    """[..., obs_dim] next observations -> [...] bool, the known termination rule."""
