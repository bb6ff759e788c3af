"""CROP's reward model: fitted to the data's rewards and pushed down at uniformly random actions.

For each member (Li et al. 2023, arXiv 2310.17245; scaling, bounds and constants of its official code),

    L = mean_b (rhat(s, a) - r)^2 + beta mean_{b,m} (rhat(s, u_m) - r_min) / (r_max - r_min) + wd / 2 sum_l ||W_l||^2,

u_m uniform in [-1, 1], rhat = r_min + (r_max - r_min) sigmoid(net(s, a)). Where actions have density p(a|s) in the data
and u under the uniform law, the optimum is rhat = r - beta u / (2 p (r_max - r_min)): the rarer an action, the lower.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field, model_validator

from offline_mbrl.config import Config, Width
from offline_mbrl.dynamics.fit import epoch_batches, inputs, where_member
from offline_mbrl.keys import stream
from offline_mbrl.nn.layers import Layer, apply_layers, init_layers
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.pretraining.contract import Pretraining, Progress
from offline_mbrl.types import Array, Data, Key, Transition

VERSION = 1
"""Raised when the fit itself changes, so that older fits are not reused."""

CHUNK = 2048
"""Rows whose rewards are predicted at once when a whole data set is read."""


class RewardConfig(Config):
    """Shape, loss and stopping rule of the reward ensemble; the defaults are the official code's but for the cap."""

    conservatism: float = Field(0.01, ge=0, description="beta, weight of the reward at random actions")
    random_actions: int = Field(10, ge=1, description="random actions drawn for each row")
    members: int = Field(7, ge=1, description="networks trained")
    elites: int = Field(5, ge=1, description="members kept, those with the lowest holdout loss")
    hidden: tuple[Width, ...] = Field((200, 200, 200, 200), description="widths of a member's hidden layers")
    learning_rate: float = Field(1e-3, gt=0, description="Adam rate, one optimizer for all members")
    batch_size: int = Field(256, ge=1, description="rows of one step, per member")
    weight_decay: float = Field(5e-5, ge=0, description="coupled L2 of every layer's weights")
    holdout_ratio: float = Field(0.01, gt=0, lt=1, description="share of rows held out, drawn anew for each member")
    improvement: float = Field(1e-4, ge=0, description="absolute fall of a member's holdout loss that counts")
    patience: int = Field(30, ge=1, description="epochs without improvement after which a member is done")
    max_epochs: int = Field(200, ge=1, description="cap on the epochs")

    @model_validator(mode="after")
    def _elites_fit(self) -> "RewardConfig":
        if self.elites > self.members:
            raise ValueError(f"{self.elites} reward elites of {self.members} members; ask for fewer elites")
        return self


class RewardRange(struct.PyTreeNode):
    """The extremes of the data's rewards, between which every prediction lies."""

    low: Array
    high: Array

    @property
    def width(self) -> Array:
        """r_max - r_min; 1 where all rewards are equal."""
        return jnp.where(self.high > self.low, self.high - self.low, 1.0)


class RewardEnsemble(struct.PyTreeNode):
    """A fitted conservative reward."""

    layers: tuple[Layer, ...]  # of the elites alone
    inputs: Normalizer
    range: RewardRange
    epochs: Array  # int32, epochs trained
    holdout_loss: Array  # [members] the lowest of each


class RewardFit(struct.PyTreeNode):
    """A fit in progress."""

    layers: tuple[Layer, ...]
    opt_state: optax.OptState
    best_layers: tuple[Layer, ...]
    best_loss: Array  # [members]
    stale: Array  # [members] int32, epochs since each improved; one beyond the patience is done for good
    epochs: Array  # int32


def bounded_reward(layers: tuple[Layer, ...], bounds: RewardRange, x: Array) -> Array:
    """rhat = r_min + (r_max - r_min) sigmoid(net(x)) of standardized inputs [N, B, d + m]: [N, B]."""
    return bounds.low + bounds.width * jax.nn.sigmoid(apply_layers(layers, x)[..., 0])


def conservative_loss(fitted: Array, reward: Array, at_random: Array, bounds: RewardRange, beta: float) -> Array:
    """mean_b (rhat - r)^2 + beta mean_{b,m} (rhat(s, u_m) - r_min) / (r_max - r_min), for each member.

    Args:
      fitted: [N, B] rhat at the data's actions.
      reward: [N, B] the data's rewards.
      at_random: [N, B * M] rhat at random actions.
      bounds: the extremes of the data's rewards.
      beta: weight of the second term.

    Returns:
      [N] losses.
    """
    error = jnp.square(fitted - reward).mean(axis=-1)
    return error + beta * ((at_random - bounds.low) / bounds.width).mean(axis=-1)


def reward_losses(
    config: RewardConfig, layers: tuple[Layer, ...], scaler: Normalizer, bounds: RewardRange, rows: Transition, key: Key
) -> Array:
    """The conservative loss [N] of every member on rows [N, B, ...] of its own, with fresh random actions."""
    shape = (*rows.action.shape[:2], config.random_actions, rows.action.shape[-1])
    action = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    obs = jnp.broadcast_to(rows.obs[:, :, None], (*shape[:3], rows.obs.shape[-1]))
    at_random = scaler.apply(jnp.concatenate([obs, action], axis=-1)).reshape(shape[0], shape[1] * shape[2], -1)
    # One pass over both kinds of rows: two would take the weights through the layers twice.
    x = jnp.concatenate([scaler.apply(inputs(rows)), at_random], axis=1)
    fitted, pushed = jnp.split(bounded_reward(layers, bounds, x), [shape[1]], axis=1)
    return conservative_loss(fitted, rows.reward, pushed, bounds, config.conservatism)


class Fixed(NamedTuple):
    """What one seed's fit draws once."""

    holdout: Array  # [members, h] rows held out, of each member's own
    train: Array  # [members, n - h] all other rows
    scaler: Normalizer
    range: RewardRange


def split_members(config: RewardConfig, rows: int, key: Key) -> tuple[Array, Array]:
    """For each member a holdout [members, h] of its own, h = max(1, ratio n), and all other rows [members, n - h]."""
    held = max(1, int(config.holdout_ratio * rows))
    order = jax.vmap(lambda k: jax.random.permutation(k, rows))(jax.random.split(key, config.members))
    return order[:, :held], order[:, held:]


def record_losses(config: RewardConfig, state: RewardFit, loss: Array) -> RewardFit:
    """Snapshots the members that improved by enough; one that has waited beyond the patience is never taken again."""
    improved = (state.best_loss - loss > config.improvement) & (state.stale <= config.patience)
    return state.replace(
        best_layers=jax.tree.map(partial(where_member, improved), state.layers, state.best_layers),
        best_loss=jnp.where(improved, loss, state.best_loss),
        stale=jnp.where(improved, 0, state.stale + 1),
        epochs=state.epochs + 1,
    )


def unfinished(config: RewardConfig, state: RewardFit) -> Array:
    """Whether some member still waits for an improvement, and the cap is not reached."""
    return (state.stale <= config.patience).any() & (state.epochs < config.max_epochs)


def start(
    config: RewardConfig, optimizer: optax.GradientTransformation, key: Key, data: Data
) -> tuple[Fixed, RewardFit]:
    """The splits, and fresh members, none of which has improved on an infinite loss yet."""
    rows = data.transitions
    sizes = (rows.obs.shape[-1] + rows.action.shape[-1], *config.hidden, 1)
    layers = init_layers(config.members, sizes, stream(key, "members"))
    fixed = Fixed(
        *split_members(config, rows.reward.shape[0], stream(key, "holdout")),
        scaler=Normalizer.fit(inputs(rows)),
        range=RewardRange(rows.reward.min(), rows.reward.max()),
    )
    return fixed, RewardFit(
        layers=layers,
        opt_state=optimizer.init(layers),
        best_layers=layers,
        best_loss=jnp.full(config.members, jnp.inf, jnp.float32),
        stale=jnp.zeros(config.members, jnp.int32),
        epochs=jnp.zeros((), jnp.int32),
    )


def train_epoch(
    config: RewardConfig,
    optimizer: optax.GradientTransformation,
    fixed: Fixed,
    state: RewardFit,
    data: Data,
    key: Key,
) -> RewardFit:
    """One pass of every member over its rows, then its holdout; a seed that has stopped does not change."""

    def losses(layers: tuple[Layer, ...], index: Array, key: Key) -> Array:
        batch = jax.tree.map(lambda leaf: leaf[index], data.transitions)
        return reward_losses(config, layers, fixed.scaler, fixed.range, batch, key)

    def objective(layers: tuple[Layer, ...], index: Array, key: Key) -> Array:
        decay = sum((jnp.square(layer.weight).sum() for layer in layers), start=jnp.zeros(()))
        return losses(layers, index, key).sum() + 0.5 * config.weight_decay * decay

    def step(state: RewardFit, draw: tuple[Array, Key]) -> tuple[RewardFit, None]:
        grads = jax.grad(objective)(state.layers, *draw)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.layers)
        return state.replace(layers=optax.apply_updates(state.layers, updates), opt_state=opt_state), None

    epoch_key = jax.random.fold_in(stream(key, "epoch"), state.epochs)
    batches = epoch_batches(fixed.train, config.batch_size, stream(epoch_key, "order"))
    trained, _ = jax.lax.scan(step, state, (batches, jax.random.split(stream(epoch_key, "actions"), batches.shape[0])))

    def held_losses(draw: tuple[Array, Key]) -> Array:
        return losses(trained.layers, draw[0][:, None], draw[1])

    # The same random actions at every epoch: a loss that moves with its draw would end the fit by chance.
    keys = jax.random.split(stream(key, "held_actions"), fixed.holdout.shape[1])
    held = jax.lax.map(held_losses, (fixed.holdout.T, keys), batch_size=config.batch_size)
    recorded = record_losses(config, trained, held.mean(axis=0))
    return jax.tree.map(partial(jnp.where, unfinished(config, state)), recorded, state)


def finish(config: RewardConfig, fixed: Fixed, state: RewardFit) -> RewardEnsemble:
    """The elites with their snapshots."""
    elites = jnp.argsort(state.best_loss)[: config.elites]
    layers = jax.tree.map(lambda leaf: leaf[elites], state.best_layers)
    return RewardEnsemble(layers, fixed.scaler, fixed.range, state.epochs, state.best_loss)


def pretraining(config: RewardConfig) -> Pretraining:
    """The fit of the conservative reward."""
    optimizer = optax.adam(config.learning_rate)
    return Pretraining(
        config=config,
        version=VERSION,
        streams=("init", "reward"),
        start=partial(start, config, optimizer),
        epoch=partial(train_epoch, config, optimizer),
        active=partial(unfinished, config),
        finish=partial(finish, config),
        progress=_progress,
        measure="holdout loss",
        max_epochs=config.max_epochs,
    )


def predict_reward(model: RewardEnsemble, obs: Array, action: Array) -> Array:
    """The mean over the elites of rhat(s, a): [B]."""
    x = model.inputs.apply(jnp.concatenate([obs, action], axis=-1))
    members = model.layers[0].bias.shape[0]
    return bounded_reward(model.layers, model.range, jnp.broadcast_to(x, (members, *x.shape))).mean(axis=0)


def relabel(model: RewardEnsemble, rows: Transition) -> Array:
    """Conservative rewards [n] of data rows, a chunk at a time."""

    def one_row(row: tuple[Array, Array]) -> Array:
        return predict_reward(model, row[0][None], row[1][None])[0]

    rewards: Array = jax.lax.map(one_row, (rows.obs, rows.action), batch_size=CHUNK)
    return rewards


def _progress(state: RewardFit) -> Progress:
    return Progress(state.epochs, state.best_loss.mean())
