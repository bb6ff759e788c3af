"""Maximum-likelihood training of the ensemble: bootstrap, holdout, snapshots, a staleness stop, elites.

Members and seeds are trained by one compiled epoch; each seed stops on its own and is frozen from then on.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from offline_mbrl.dynamics.ensemble import Ensemble, EnsembleConfig, Layer, Weights, forward, init_weights
from offline_mbrl.keys import stream
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array, Key, Transition


class Split(struct.PyTreeNode):
    """Row numbers of one seed's data: what is held out, and each member's bootstrap of the rest."""

    holdout: Array  # [n_holdout]
    bootstrap: Array  # [members, n_train], drawn with replacement


class FitState(struct.PyTreeNode):
    """One seed's fit in progress."""

    weights: Weights
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


Report = Callable[[FitState], None]


def targets(rows: Transition) -> Array:
    """y = (r, s' - s) in raw units: [..., d + 1]."""
    return jnp.concatenate([rows.reward[..., None], rows.next_obs - rows.obs], axis=-1)


def inputs(rows: Transition) -> Array:
    """x = (s, a): [..., d + m]."""
    return jnp.concatenate([rows.obs, rows.action], axis=-1)


def standardize(normalizer: Normalizer, rows: Transition) -> Transition:
    """The rows with z-scored observations."""
    return rows._replace(obs=normalizer.apply(rows.obs), next_obs=normalizer.apply(rows.next_obs))


def split_rows(config: EnsembleConfig, rows: int, key: Key) -> Split:
    """A random holdout of min(ratio n, max) rows and, for each member, n_train draws from the others."""
    held = max(1, min(int(config.holdout_ratio * rows), config.holdout_max))
    order = jax.random.permutation(stream(key, "holdout"), rows)
    draws = jax.random.randint(stream(key, "bootstrap"), (config.members, rows - held), 0, rows - held)
    return Split(holdout=order[:held], bootstrap=order[held:][draws])


def likelihood_loss(weights: Weights, x: Array, y: Array, logvar_weight: float = 1.0) -> Array:
    """sum_i mean_{b,k} [ (mu_i - y)^2 exp(-logvar_i) + c logvar_i ] for x [N, B, d + m], y [N, B, d + 1].

    Twice the negative log-likelihood at c = 1; its optimum is the variance e^2 / c of errors e.
    """
    mean, logvar = forward(weights, x)
    return (jnp.square(mean - y) * jnp.exp(-logvar) + logvar_weight * logvar).mean(axis=(1, 2)).sum()


def regularizer(config: EnsembleConfig, weights: Weights) -> Array:
    """sum_l wd_l / 2 sum_i ||W_il||^2 + c (sum max_logvar - sum min_logvar); biases are free."""
    decay = sum(
        (
            0.5 * rate * jnp.square(layer.weight).sum()
            for rate, layer in zip(config.weight_decay, weights.layers, strict=True)
        ),
        start=jnp.zeros(()),
    )
    return decay + config.logvar_penalty * (weights.max_logvar.sum() - weights.min_logvar.sum())


def loss(config: EnsembleConfig, weights: Weights, x: Array, y: Array) -> Array:
    """The training loss: likelihood and regularizer, summed over members."""
    if not config.logvar_trained:
        low, high = jax.lax.stop_gradient((weights.min_logvar, weights.max_logvar))
        weights = weights._replace(min_logvar=low, max_logvar=high)
    return likelihood_loss(weights, x, y, config.logvar_weight) + regularizer(config, weights)


def holdout_error(weights: Weights, x: Array, y: Array) -> Array:
    """Mean squared error [N] of every member's mean on the same rows x [B, d + m], y [B, d + 1], in raw units."""
    count = weights.layers[0].bias.shape[0]
    mean, _ = forward(weights, jnp.broadcast_to(x, (count, *x.shape)))
    return jnp.square(mean - y).mean(axis=(1, 2))


def init(
    config: EnsembleConfig, optimizer: optax.GradientTransformation, obs_dim: int, action_dim: int, key: Key
) -> FitState:
    """Fresh members; nothing has improved on an error of 1e10 yet."""
    weights = init_weights(config, obs_dim, action_dim, key)
    return FitState(
        weights=weights,
        opt_state=optimizer.init(weights),
        best_layers=jax.tree.map(jnp.copy, weights.layers),
        best_loss=jnp.full(config.members, 1e10),
        stale=jnp.zeros((), jnp.int32),
        epochs=jnp.zeros((), jnp.int32),
    )


def epoch_batches(bootstrap: Array, batch_size: int, key: Key) -> Array:
    """Every member's rows in a fresh order of its own: [ceil(n / batch), N, batch]; the last batch wraps round."""
    members, rows = bootstrap.shape
    steps = -(-rows // batch_size)
    _, shuffled = jax.lax.sort((jax.random.bits(key, bootstrap.shape), bootstrap), dimension=1, num_keys=1)
    wrapped = shuffled[:, jnp.arange(steps * batch_size) % rows]
    return wrapped.reshape(members, steps, batch_size).swapaxes(0, 1)


def record_improvement(config: EnsembleConfig, state: FitState, error: Array) -> FitState:
    """Snapshots the members whose holdout error fell by the needed share, and counts the epochs in which none did."""
    improved = (state.best_loss - error) / state.best_loss > config.improvement
    keep = partial(_where_member, improved)
    return state.replace(
        best_layers=jax.tree.map(keep, state.weights.layers, state.best_layers),
        best_loss=jnp.where(improved, error, state.best_loss),
        stale=jnp.where(improved.any(), 0, state.stale + 1),
        epochs=state.epochs + 1,
    )


def train_epoch(
    config: EnsembleConfig,
    optimizer: optax.GradientTransformation,
    scaler: Normalizer,
    rows: Transition,
    split: Split,
    state: FitState,
    key: Key,
) -> FitState:
    """One pass of every member over its bootstrap, then the holdout; a seed that has stopped does not change."""

    def step(carry: tuple[Weights, optax.OptState], index: Array) -> tuple[tuple[Weights, optax.OptState], None]:
        weights, opt_state = carry
        batch = jax.tree.map(lambda leaf: leaf[index], rows)
        grads = jax.grad(loss, argnums=1)(config, weights, scaler.apply(inputs(batch)), targets(batch))
        updates, opt_state = optimizer.update(grads, opt_state, weights)
        return (optax.apply_updates(weights, updates), opt_state), None

    batches = epoch_batches(split.bootstrap, config.batch_size, jax.random.fold_in(key, state.epochs))
    (weights, opt_state), _ = jax.lax.scan(step, (state.weights, state.opt_state), batches)
    held = jax.tree.map(lambda leaf: leaf[split.holdout], rows)
    error = holdout_error(weights, scaler.apply(inputs(held)), targets(held))
    trained = record_improvement(config, state.replace(weights=weights, opt_state=opt_state), error)
    return jax.tree.map(partial(jnp.where, active(config, state)), trained, state)


def active(config: EnsembleConfig, state: FitState) -> Array:
    """Whether a seed still trains: fewer than `patience` stale epochs, and below the cap."""
    waiting = state.stale < config.patience
    return waiting if config.max_epochs is None else waiting & (state.epochs < config.max_epochs)


def finish(config: EnsembleConfig, scaler: Normalizer, state: FitState) -> Fit:
    """Restores each member's snapshot (the shared bounds keep their last values) and names the elites."""
    elites = jnp.argsort(state.best_loss)[: config.elites].astype(jnp.int32)
    weights = state.weights._replace(layers=state.best_layers)
    return Fit(Ensemble(weights, scaler, elites), state.best_loss, state.epochs)


class Programs(NamedTuple):
    """The compiled parts of a fit, batched over seeds."""

    start: Callable[[Key, Transition], tuple[FitState, Split, Normalizer]]
    epoch: Callable[[Normalizer, Transition, Split, FitState, Key], FitState]  # consumes the state
    finish: Callable[[Normalizer, FitState], Fit]


def compile_fit(config: EnsembleConfig, obs_dim: int, action_dim: int) -> Programs:
    """The programs of fits with one configuration and one width of rows."""
    optimizer = optax.adam(config.learning_rate)

    def start(key: Key, rows: Transition) -> tuple[FitState, Split, Normalizer]:
        split = split_rows(config, rows.reward.shape[0], key)
        return init(config, optimizer, obs_dim, action_dim, key), split, _fit_scaler(rows, split.holdout)

    def epoch(scaler: Normalizer, rows: Transition, split: Split, state: FitState, key: Key) -> FitState:
        return train_epoch(config, optimizer, scaler, rows, split, state, stream(key, "epoch"))

    return Programs(
        start=jax.jit(jax.vmap(start, in_axes=(0, None))),
        epoch=jax.jit(jax.vmap(epoch, in_axes=(0, None, 0, 0, 0)), donate_argnums=3),
        finish=jax.jit(jax.vmap(partial(finish, config))),
    )


def fit(config: EnsembleConfig, rows: Transition, keys: Key, report: Report = lambda state: None) -> Fit:
    """Fits one ensemble for each of the typed keys [S]; every leaf of the result has a leading axis S.

    Args:
      config: sizes, rates and the stopping rule.
      rows: transitions [n, ...], shared by all seeds.
      keys: one key for each seed.
      report: called after every epoch with the batched state.
    """
    programs = compile_fit(config, rows.obs.shape[-1], rows.action.shape[-1])
    if config.standardize:
        rows = jax.jit(standardize)(jax.jit(Normalizer.fit)(rows.obs), rows)
    state, split, scaler = programs.start(keys, rows)
    while bool(active(config, state).any()):
        state = programs.epoch(scaler, rows, split, state, keys)
        report(state)
    return programs.finish(scaler, state)


def untrained(config: EnsembleConfig, obs_dim: int, action_dim: int, key: Key) -> Fit:
    """One seed's fit before any training, on inputs of unit scale."""
    width = obs_dim + action_dim
    state = init(config, optax.adam(config.learning_rate), obs_dim, action_dim, key)
    return finish(config, Normalizer(jnp.zeros(width), jnp.ones(width)), state)


def fit_shape(config: EnsembleConfig, obs_dim: int, action_dim: int) -> Fit:
    """The shapes and types of one seed's fit, for reading a saved one."""
    shapes: Fit = jax.eval_shape(partial(untrained, config, obs_dim, action_dim), jax.random.key(0))
    return shapes


def _fit_scaler(rows: Transition, holdout: Array) -> Normalizer:
    """Mean and standard deviation of the inputs over the rows that are not held out."""
    kept = jnp.ones(rows.reward.shape[0]).at[holdout].set(0.0)[:, None]
    x, count = inputs(rows), kept.sum()
    mean = (kept * x).sum(axis=0) / count
    std = jnp.sqrt((kept * jnp.square(x - mean)).sum(axis=0) / count)
    return Normalizer(mean, jnp.where(std < 1e-12, 1.0, std))


def _where_member(chosen: Array, new: Array, old: Array) -> Array:
    """New rows of a [members, ...] array where chosen, old ones elsewhere."""
    return jnp.where(chosen.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
