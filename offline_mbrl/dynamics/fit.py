"""Supervised training of an ensemble of any kind: bootstrap, holdout, snapshots, a staleness stop, elites."""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.ensemble import Ensemble, MemberWeights
from offline_mbrl.keys import stream
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.normalizer import Normalizer, fit_normalizer
from offline_mbrl.pretraining.contract import Pretraining, Progress, unchanged
from offline_mbrl.types import Array, Data, Key, Transition

VERSION = 2
"""Raised when the fit itself changes, so that older fits are not reused."""

Weights = TypeVar("Weights", bound=MemberWeights)

Loss = Callable[[Weights, Array, Array], Array]
"""(weights, standardized inputs x [N, B, d + m], targets y [N, B, d + 1]) -> the training loss, summed over members."""


class Fixed(struct.PyTreeNode):
    """What one seed's fit draws once: rows held out, each member's bootstrap of the rest, and the inputs' scale."""

    holdout: Array  # [n_holdout]
    bootstrap: Array  # [members, n_train], drawn with replacement
    scaler: Normalizer


class FitState(struct.PyTreeNode):
    """One seed's fit in progress."""

    weights: MemberWeights
    opt_state: optax.OptState
    best_layers: tuple[Layer, ...]
    best_loss: Array  # [members] lowest holdout error so far
    stale: Array  # int32, epochs since any member improved
    epochs: Array  # int32, epochs trained


class Fit(struct.PyTreeNode):
    """A finished fit and how it went."""

    ensemble: Ensemble
    holdout_mse: Array  # [members]
    epochs: Array  # int32


def targets(rows: Transition) -> Array:
    """y = (r, s' - s) in raw units: [..., d + 1]."""
    return jnp.concatenate([rows.reward[..., None], rows.next_obs - rows.obs], axis=-1)


def inputs(rows: Transition) -> Array:
    """x = (s, a): [..., d + m]."""
    return jnp.concatenate([rows.obs, rows.action], axis=-1)


def standardize(normalizer: Normalizer, rows: Transition) -> Transition:
    """The rows with z-scored observations."""
    return rows._replace(obs=normalizer.apply(rows.obs), next_obs=normalizer.apply(rows.next_obs))


def standardize_data(data: Data) -> Data:
    """The data with observations z-scored by their own mean and deviation."""
    normalizer = fit_normalizer(data.transitions.obs)
    return data._replace(transitions=jax.jit(standardize)(normalizer, data.transitions))


def split_rows(config: EnsembleConfig, rows: int, key: Key) -> tuple[Array, Array]:
    """A random holdout of min(ratio n, max) rows and, for each member, n_train draws from the others."""
    held = max(1, min(int(config.holdout_ratio * rows), config.holdout_max))
    order = jax.random.permutation(stream(key, "holdout"), rows)
    draws = jax.random.randint(stream(key, "bootstrap"), (config.members, rows - held), 0, rows - held)
    return order[:held], order[held:][draws]


def weight_decay(config: EnsembleConfig, layers: tuple[Layer, ...]) -> Array:
    """sum_l wd_l / 2 sum_i ||W_il||^2; biases are free."""
    terms = zip(config.weight_decay, layers, strict=True)
    return sum((0.5 * rate * jnp.square(layer.weight).sum() for rate, layer in terms), start=jnp.zeros(()))


def holdout_error(weights: MemberWeights, x: Array, y: Array) -> Array:
    """Mean squared error [N] of every member's mean on the same rows x [B, d + m], y [B, d + 1], in raw units."""
    count = weights.layers[0].bias.shape[0]
    mean, _ = weights.predict(jnp.broadcast_to(x, (count, *x.shape)))
    return jnp.square(mean - y).mean(axis=(1, 2))


def init(config: EnsembleConfig, optimizer: optax.GradientTransformation, weights: MemberWeights) -> FitState:
    """Members before their first epoch; nothing has improved on an error of 1e10 yet."""
    return FitState(
        weights=weights,
        opt_state=optimizer.init(weights),
        best_layers=jax.tree.map(jnp.copy, weights.layers),
        best_loss=jnp.full(config.members, 1e10, jnp.float32),
        stale=jnp.zeros((), jnp.int32),
        epochs=jnp.zeros((), jnp.int32),
    )


def epoch_batches(bootstrap: Array, batch_size: int, key: Key) -> Array:
    """Every member's rows in a fresh order of its own: [ceil(n / batch), N, batch]; the last batch wraps round."""
    members, rows = bootstrap.shape
    steps = math.ceil(rows / batch_size)
    _, shuffled = jax.lax.sort((jax.random.bits(key, bootstrap.shape), bootstrap), dimension=1, num_keys=1)
    wrapped = shuffled[:, jnp.arange(steps * batch_size) % rows]
    return wrapped.reshape(members, steps, batch_size).swapaxes(0, 1)


def record_improvement(config: EnsembleConfig, state: FitState, error: Array) -> FitState:
    """Snapshots the members whose holdout error fell by the needed share, and counts the epochs in which none did."""
    improved = (state.best_loss - error) / state.best_loss > config.improvement
    keep = partial(where_member, improved)
    return state.replace(
        best_layers=jax.tree.map(keep, state.weights.layers, state.best_layers),
        best_loss=jnp.where(improved, error, state.best_loss),
        stale=jnp.where(improved.any(), 0, state.stale + 1),
        epochs=state.epochs + 1,
    )


def train_epoch(
    config: EnsembleConfig,
    optimizer: optax.GradientTransformation,
    loss: Loss[Weights],
    fixed: Fixed,
    state: FitState,
    data: Data,
    key: Key,
) -> FitState:
    """One pass of every member over its bootstrap, then the holdout; a seed that has stopped does not change."""
    rows = data.transitions

    def step(carry: tuple[Weights, optax.OptState], index: Array) -> tuple[tuple[Weights, optax.OptState], None]:
        weights, opt_state = carry
        batch = jax.tree.map(lambda leaf: leaf[index], rows)
        grads = jax.grad(loss)(weights, fixed.scaler.apply(inputs(batch)), targets(batch))
        updates, opt_state = optimizer.update(grads, opt_state, weights)
        return (optax.apply_updates(weights, updates), opt_state), None

    batches = epoch_batches(fixed.bootstrap, config.batch_size, jax.random.fold_in(stream(key, "epoch"), state.epochs))
    (weights, opt_state), _ = jax.lax.scan(step, (cast(Weights, state.weights), state.opt_state), batches)
    held = jax.tree.map(lambda leaf: leaf[fixed.holdout], rows)
    error = holdout_error(weights, fixed.scaler.apply(inputs(held)), targets(held))
    trained = record_improvement(config, state.replace(weights=weights, opt_state=opt_state), error)
    return jax.tree.map(partial(jnp.where, active(config, state)), trained, state)


def active(config: EnsembleConfig, state: FitState) -> Array:
    """Whether a seed still trains: fewer than `patience` stale epochs, and below the cap."""
    waiting = state.stale < config.patience
    return waiting if config.max_epochs is None else waiting & (state.epochs < config.max_epochs)


def finish(config: EnsembleConfig, fixed: Fixed, state: FitState) -> Fit:
    """Restores each member's snapshot (what all members share keeps its last value) and names the elites."""
    elites = jnp.argsort(state.best_loss)[: config.elites].astype(jnp.int32)
    weights = state.weights.with_layers(state.best_layers)
    return Fit(Ensemble(weights, fixed.scaler, elites), state.best_loss, state.epochs)


def pretraining(config: EnsembleConfig, init_weights: Callable[[Key], Weights], loss: Loss[Weights]) -> Pretraining:
    """The fit of a kind of world model, from how its weights start and what they lower."""
    optimizer = optax.adam(config.learning_rate)

    def start(key: Key, data: Data) -> tuple[Fixed, FitState]:
        holdout, bootstrap = split_rows(config, data.transitions.reward.shape[0], key)
        fixed = Fixed(holdout, bootstrap, fit_scaler(data.transitions, holdout))
        return fixed, init(config, optimizer, init_weights(key))

    return Pretraining(
        config=config,
        version=VERSION,
        streams=("fit",),
        start=start,
        epoch=partial(train_epoch, config, optimizer, loss),
        active=partial(active, config),
        finish=partial(finish, config),
        progress=_progress,
        measure="holdout mse",
        max_epochs=config.max_epochs,
        prepare=standardize_data if config.standardize else unchanged,
    )


def fit_scaler(rows: Transition, holdout: Array) -> Normalizer:
    """Mean and standard deviation of the inputs over the rows that are not held out."""
    weight = jnp.ones(rows.reward.shape[0]).at[holdout].set(0.0)[:, None]
    x, count = inputs(rows), weight.sum()
    mean = (weight * x).sum(axis=0) / count
    std = jnp.sqrt((weight * jnp.square(x - mean)).sum(axis=0) / count)
    return Normalizer(mean, jnp.where(std < 1e-12, 1.0, std))


def where_member(chosen: Array, new: Array, old: Array) -> Array:
    """New rows of a [members, ...] array where chosen, old ones elsewhere."""
    return jnp.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


def _progress(state: FitState) -> Progress:
    return Progress(state.epochs, state.best_loss.mean())
