"""Branched model rollouts: short imagined episodes from states of the data (Janner et al. 2019, arXiv 1906.08253)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian, draw, pick, predict, predict_random_elite, sample_members
from offline_mbrl.dynamics.uncertainty import Penalty
from offline_mbrl.keys import stream
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.nn.precision import imagining
from offline_mbrl.types import Array, Key, Transition

CHUNK = 10_000
"""Most rows rolled out at once: the activations of larger batches fall out of the caches."""


class ModelStep(NamedTuple):
    """One imagined step of B rows; `discount` 0 ends a row."""

    reward: Array  # [B]
    next_obs: Array  # [B, d]
    discount: Array  # [B]
    uncertainty: Array  # [B], 0 where it was not asked for


class Rollout(NamedTuple):
    """Imagined transitions [h, b, ...], which of them happened, and how unsure the model was."""

    rows: Transition
    alive: Array  # [h, b] bool; the row that ends an episode is alive, those after it are not
    uncertainty: Array  # [h, b]


ActionSampler = Callable[[Array, Key], Array]
"""(obs [B, d], key) -> action [B, m]."""

Model = Callable[[Array, Array, Key], ModelStep]
"""(obs [B, d], action [B, m], key) -> the imagined step."""


def ensemble_model(ensemble: Ensemble, terminates: Callable[[Array], Array], penalty: Penalty | None = None) -> Model:
    """The sampled ensemble as a simulator: a random elite for each row and step, its noise on every dimension.

    All members are evaluated only when `penalty` needs them; otherwise each row costs one member.
    """

    def step(obs: Array, action: Array, key: Key) -> ModelStep:
        if penalty is not None and penalty.all_members:
            prediction = predict(ensemble, obs, action)
            member = sample_members(ensemble, stream(key, "elite"), obs.shape[0])
            gaussian = pick(prediction, member)
            y = draw(gaussian, stream(key, "noise"))
            uncertainty = penalty(prediction, member, y)
        else:
            gaussian = predict_random_elite(ensemble, obs, action, stream(key, "elite"))
            y = draw(gaussian, stream(key, "noise"))
            uncertainty = jnp.zeros(obs.shape[0]) if penalty is None else _of_one(penalty, gaussian, y)
        next_obs = obs + y[:, 1:]
        return ModelStep(y[:, 0], next_obs, 1.0 - terminates(next_obs), uncertainty)

    return step


def standardized_model(
    ensemble: Ensemble, normalizer: Normalizer, terminates: Callable[[Array], Array], penalty: Penalty | None = None
) -> Model:
    """A model of z-scored observations as a simulator in the task's own units."""
    model = ensemble_model(ensemble, lambda z: terminates(normalizer.invert(z)), penalty)

    def step(obs: Array, action: Array, key: Key) -> ModelStep:
        imagined = model(normalizer.apply(obs), action, key)
        return imagined._replace(next_obs=normalizer.invert(imagined.next_obs))

    return step


def rollout(model: Model, policy: ActionSampler, starts: Array, horizon: int, key: Key) -> Rollout:
    """`horizon` steps of every start [b, d] under `policy`; a row stops at its first discount of 0.

    Shapes are fixed: a row that has stopped goes on being computed and is marked dead. A row whose prediction is not
    finite dies before it is stored: a terminal discount would not mask it, since 0 times NaN is NaN. No gradient goes
    through it.
    """

    def step(carry: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], Rollout]:
        obs, alive = carry
        action = policy(obs, stream(key, "action"))
        imagined = model(obs, action, stream(key, "model"))
        rows = Transition(obs, action, imagined.reward, imagined.discount, imagined.next_obs)
        alive = alive & jnp.isfinite(imagined.next_obs).all(axis=-1) & jnp.isfinite(imagined.reward)
        return (imagined.next_obs, alive & (imagined.discount > 0)), Rollout(rows, alive, imagined.uncertainty)

    def run(starts: Array, key: Key) -> Rollout:
        alive = jnp.ones(starts.shape[0], bool)
        return jax.lax.scan(step, (starts, alive), jax.random.split(key, horizon))[1]

    chunks = _chunks(starts.shape[0])
    pieces = starts.reshape(chunks, -1, starts.shape[-1])
    with imagining():
        parts: Rollout = jax.lax.map(lambda piece: run(*piece), (pieces, jax.random.split(key, chunks)))
    return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1).reshape(horizon, starts.shape[0], *leaf.shape[3:]), parts)


def flatten(rollout: Rollout) -> tuple[Transition, Array]:
    """Rows [h * b, ...] and their alive mask [h * b], in the order in which they were made."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (rollout.rows, rollout.alive))


def _of_one(penalty: Penalty, gaussian: Gaussian, drawn: Array) -> Array:
    """A penalty that needs only the sampled member, on that member alone."""
    alone = Gaussian(gaussian.mean[None], gaussian.std[None])
    return penalty(alone, jnp.zeros(gaussian.mean.shape[0], jnp.int32), drawn)


def _chunks(rows: int) -> int:
    """The fewest equal parts of `rows` with at most `CHUNK` rows each; one where only tiny parts would be equal."""
    fewest = math.ceil(rows / CHUNK)
    return next((parts for parts in range(fewest, 100 * fewest) if rows % parts == 0), 1)
