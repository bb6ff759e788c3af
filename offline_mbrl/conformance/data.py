"""The problem and the data that every system is tested on."""

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.data.dataset import end_to_end
from offline_mbrl.types import Array, Data, Problem, Transition

ROWS, EPISODE = 96, 8

SEEDS = (0, 1)
"""Trained together."""


def too_far(obs: Array) -> Array:
    """Ends where a component leaves [-4, 4], which some imagined steps do: [..., d] -> [...] bool."""
    return jnp.abs(obs).max(axis=-1) > 4


PROBLEM = Problem(3, 2, too_far)


def make_data() -> Data:
    """Twelve episodes of eight rows; every third ends in a terminal, the others at the time limit."""
    generator = np.random.default_rng(0)
    obs = generator.normal(size=(ROWS // EPISODE, EPISODE + 1, PROBLEM.obs_dim)).cumsum(axis=1) * 0.3
    action = generator.uniform(-1, 1, (ROWS, PROBLEM.action_dim))
    reward = generator.normal(size=ROWS) + 1.0
    last = np.arange(ROWS) % EPISODE == EPISODE - 1
    discount = np.where(last & (np.arange(ROWS) // EPISODE % 3 == 0), 0.0, 1.0)
    returns = np.repeat(reward.reshape(-1, EPISODE).sum(axis=1), EPISODE)
    columns = (obs[:, :-1].reshape(ROWS, -1), action, reward, discount, obs[:, 1:].reshape(ROWS, -1))
    return Data(
        Transition(*(jnp.asarray(column, jnp.float32) for column in columns)),
        jnp.asarray(returns, jnp.float32),
        jnp.asarray(np.arange(ROWS) % EPISODE == 0),
        jnp.asarray(~last),
    )


DATA = make_data()


def beside_others(lanes: int) -> Data:
    """`DATA` as the own rows of each of the lanes, between others that spoil whatever reads them: they are NaN."""

    def spoilt(leaf: Array) -> Array:
        return jnp.full_like(leaf[: ROWS // 2], jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else True)

    others = jax.tree.map(spoilt, DATA)
    return end_to_end([others, DATA, others], [0, lanes, 0])
