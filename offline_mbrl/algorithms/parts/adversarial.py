"""The adversarial actor-critic that ATAC and ARMOR share (Cheng et al. 2022, arXiv 2202.02446).

The critics play against the actor: each f_i makes the actor look bad while it keeps to the Bellman equation,

    min_f  L(f, pi) + beta E^w(f, pi)        max_pi  L(f_1, pi)        L(f, pi) = E[f(s, pi) - f(s, a)],

on two time scales (the critics' rate is 1000 times the actor's), with the critics' weights projected onto a ball and
the policy's entropy held above a floor. What L compares with, and where the tuples come from, is each system's own.

A run begins with a warm start of `warm_steps` steps: the same step with L switched off and the actor cloning the data.
Being ordinary steps, they are evaluated, checkpointed and resumed like all others. At their end the targets are set to
the critics, and log alpha and the actor's optimizer start afresh.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig, SACState
from offline_mbrl.config import Config, Number, Widths
from offline_mbrl.errors import UserError
from offline_mbrl.keys import indices, stream
from offline_mbrl.nn.networks import (
    Critic,
    GaussianActor,
    Params,
    action_log_prob,
    apply,
    critic_ensemble,
    tanh_gaussian,
)
from offline_mbrl.types import Array, Key, Metrics, Problem, Transition

WARM_SHARE = 11
"""The published warm start is one part in eleven: 100,000 steps before 1,000,000."""

STARTS = 1024
"""Start states kept for absolute pessimism, drawn from the data's once."""

LOG_STD_BOUNDS = (math.log(1e-5), 2.0)

Pessimism = Callable[[Params, Array], Array]
"""(critic, f(s, a) [K, B]) -> L of every critic [K]."""


class AdversarialConfig(Config):
    """Hyper-parameters of the game; the defaults are those of the official ATAC code (microsoft/ATAC, lightATAC)."""

    discount: Number = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: Number = Field(0.005, gt=0, le=1, description="Polyak step of the target critics")
    batch_size: int = Field(256, ge=1, description="data rows of one gradient step")
    hidden: Widths = (256, 256, 256)
    bellman_weight: Number = Field(3.0, ge=0, description="beta, weight of the Bellman error against the pessimism")
    target_weight: Number = Field(0.5, ge=0, le=1, description="w, share of the target-network term in that error")
    fast_lr: Number = Field(5e-4, gt=0, description="Adam rate of all but the actor, of it too in the warm start")
    slow_lr: Number = Field(5e-7, gt=0, description="Adam rate of the actor in the game")
    norm_bound: Number = Field(100.0, gt=0, description="Frobenius bound of every weight matrix of the critics")
    target_entropy: Number | None = Field(None, description="entropy floor; minus the action dimension when absent")
    warm_steps: int | None = Field(None, ge=0, description="steps of the warm start; a part in eleven when absent")


class GameState(struct.PyTreeNode):
    """Everything that the two players change."""

    learner: SACState
    starts: Array | None  # [STARTS, d] start states of the data, where the pessimism is absolute
    step: Array  # int32, steps taken, those of the warm start included


@dataclass(frozen=True)
class Game:
    """The static half: networks, optimizers, constants."""

    config: AdversarialConfig
    agent: SAC
    warm_steps: int


class RestartedAdam(NamedTuple):
    """State of `restarted_adam`: steps taken and Adam's moments."""

    steps: Array
    adam: optax.OptState


def make(problem: Problem, config: AdversarialConfig, steps: int) -> Game:
    """The game for a run of `steps` gradient steps.

    Raises:
      UserError: the warm start leaves none of them.
    """
    warm_steps = steps // WARM_SHARE if config.warm_steps is None else config.warm_steps
    if warm_steps >= steps:
        raise UserError(f"a warm start of {warm_steps} steps leaves none of {steps} for the game; lower warm_steps")
    # A copy checks nothing: the numbers were checked in `config`, and may be traced.
    numbers = {"discount": config.discount, "tau": config.tau}
    shared = SACConfig(batch_size=config.batch_size, hidden=config.hidden).model_copy(update=numbers)
    agent = SAC(
        config=shared,
        actor=GaussianActor(config.hidden, problem.action_dim, LOG_STD_BOUNDS),
        critic=critic_ensemble(2, config.hidden),
        actor_optimizer=restarted_adam(config.fast_lr, config.slow_lr, warm_steps),
        critic_optimizer=optax.adam(config.fast_lr),
        temperature_optimizer=restarted_adam(config.fast_lr, config.fast_lr, warm_steps),
        target_entropy=-float(problem.action_dim) if config.target_entropy is None else config.target_entropy,
        problem=problem,
    )
    return Game(config, agent, warm_steps)


def restarted_adam(before: float, after: float, restart: int) -> optax.GradientTransformation:
    """Adam at rate `before` for `restart` steps, then a new Adam, its moments forgotten, at rate `after`."""
    inner = optax.scale_by_adam()

    def init(params: Params) -> RestartedAdam:
        return RestartedAdam(jnp.zeros((), jnp.int32), inner.init(params))

    def update(grads: Params, state: RestartedAdam, params: Params = None) -> tuple[Params, RestartedAdam]:
        fresh, rate = state.steps == restart, jnp.where(state.steps < restart, before, after)
        adam = jax.tree.map(lambda leaf: jnp.where(fresh, jnp.zeros_like(leaf), leaf), state.adam)
        direction, adam = inner.update(grads, adam)
        return jax.tree.map(lambda leaf: -rate * leaf, direction), RestartedAdam(state.steps + 1, adam)

    return optax.GradientTransformation(init, update)


def init(game: Game, key: Key, starts: Array | None = None) -> GameState:
    """Fresh players; `starts` [k, d] where the pessimism will be absolute."""
    return GameState(sac.init(game.agent, key), starts, jnp.zeros((), jnp.int32))


def playing(game: Game, state: GameState) -> Array:
    """Whether the warm start is over: bool scalar."""
    return state.step >= game.warm_steps


def normalized_sum(loss: Array, regularizer: Array, weight: Array | float) -> Array:
    """x / c + y if c > 1, else x + c y: (x + c y) / max(c, 1), continuous at c = 1."""
    return (loss + weight * regularizer) / jnp.maximum(weight, 1.0)


def bellman_error(q: Array, residual: Array, target: Array, weight: float) -> Array:
    """E^w_i = (1 - w) mean_b (f_i(s,a) - y^res_i)^2 + w mean_b (f_i(s,a) - y)^2, the DQRA error: [K].

    Args:
      q: [K, B] f_i(s, a).
      residual: [K, B] y^res_i = r + gamma d f_i(s', a'), through which the gradient flows.
      target: [B] y = r + gamma d min_j fbar_j(s', a').
      weight: w.
    """
    chex.assert_equal_shape((q, residual))
    chex.assert_shape(target, q.shape[1:])
    return ((1 - weight) * jnp.square(q - residual) + weight * jnp.square(q - target)).mean(axis=-1)


def against_logged(game: Game, rows: Transition, action: Array) -> Pessimism:
    """L_i = mean_b [ f_i(s, a~) - f_i(s, a) ], a~ of the policy, a logged: ATAC's relative pessimism."""
    return lambda critic, q: (sac.q_values(game.agent, critic, rows.obs, action) - q).mean(axis=-1)


def against_reference(game: Game, obs: Array, action: Array, reference: Array) -> Pessimism:
    """L_i = mean_b [ f_i(s, a~) - f_i(s, a_ref) ], a_ref of the reference policy: ARMOR's."""

    def measure(critic: Params, q: Array) -> Array:
        value = sac.q_values(game.agent, critic, obs, action)
        return (value - sac.q_values(game.agent, critic, obs, reference)).mean(axis=-1)

    return measure


def absolute(game: Game, state: GameState, key: Key) -> Pessimism:
    """L_i = mean_b f_i(s_0, a~_0), a~_0 ~ pi(s_0), over start states: relative to nothing (ATAC0)."""
    assert state.starts is not None, "absolute pessimism needs start states"
    index = indices(stream(key, "start"), game.config.batch_size, state.starts.shape[0])
    starts = state.starts[index]
    action, _ = sac.sample_action(game.agent, state.learner.actor.params, starts, stream(key, "start_action"))
    return lambda critic, q: sac.q_values(game.agent, critic, starts, action).mean(axis=-1)


def adversary_loss(
    game: Game,
    critic: Params,
    state: GameState,
    rows: Transition,
    next_action: Array,
    pessimism: Pessimism,
    model_error: Array | float = 0.0,
) -> tuple[Array, Metrics]:
    """sum_i nsum( L_i, E^w_i + model_error, beta ), with L_i off during the warm start.

    The gradient flows into `critic` and into whatever made the rows' rewards and next observations; the target
    critics' weights are constants, their inputs are not.
    """
    config, target = game.config, state.learner.target
    future = config.discount * rows.discount
    q = sac.q_values(game.agent, critic, rows.obs, rows.action)
    residual = rows.reward + future * sac.q_values(game.agent, critic, rows.next_obs, next_action)
    fixed = rows.reward + future * sac.q_values(game.agent, target, rows.next_obs, next_action).min(axis=0)
    error = bellman_error(q, residual, fixed, config.target_weight)
    gap = pessimism(critic, q)
    loss = normalized_sum(jnp.where(playing(game, state), gap, 0.0), error + model_error, config.bellman_weight).sum()
    metrics = {"adversary_loss": loss, "critic_loss": error.mean(), "pessimism": gap.mean()}
    return loss, metrics | {"q": q.mean(), "target": fixed.mean()}


def project(critic: Params, bound: float) -> Params:
    """Every weight matrix [..., in, out] scaled back to Frobenius norm `bound` where it exceeds it; biases are free."""

    def shrink(path: tuple[jax.tree_util.DictKey, ...], leaf: Array) -> Array:
        if path[-1].key != "kernel":
            return leaf
        norm = jnp.sqrt(jnp.square(leaf).sum(axis=(-2, -1), keepdims=True))
        return leaf * jnp.minimum(1.0, bound / jnp.maximum(norm, 1e-12))

    return jax.tree_util.tree_map_with_path(shrink, critic)


def first_value(game: Game, critic: Params, obs: Array, action: Array) -> Array:
    """f_1(s, a) alone: [B]."""
    first: Array = apply(Critic(game.config.hidden), jax.tree.map(lambda leaf: leaf[0], critic), obs, action)
    return first


def actor_loss(game: Game, actor: Params, state: GameState, obs: Array, cloned: Array, key: Key) -> tuple[Array, Array]:
    """nsum( -mean f_1(s, a~), mean log pi(a~|s), alpha ); in the warm start -mean log pi(a|s) for the first term.

    Args:
      game: the static half.
      actor: weights that the gradient is taken of.
      state: f_1 and alpha.
      obs: [B, d], the states that logged actions belong to first.
      cloned: [b <= B, m] logged actions.
      key: of a~.

    Returns:
      The loss, and its first term.
    """
    mean, log_std = apply(game.agent.actor, actor, obs)
    action, log_prob = tanh_gaussian(mean, log_std).sample_and_log_prob(seed=key)
    logged = slice(None, cloned.shape[0])
    clone = -action_log_prob(mean[logged], log_std[logged], cloned).mean()
    value = first_value(game, state.learner.critic.params, obs, action).mean()
    objective = jnp.where(playing(game, state), -value, clone)
    alpha = jnp.exp(state.learner.log_alpha.params)
    return normalized_sum(objective, log_prob.mean(), alpha), objective


def update_critic(game: Game, state: GameState, grads: Params) -> GameState:
    """f_i <- Proj(f_i - Adam(grad))."""
    critic = state.learner.critic.step(grads, game.agent.critic_optimizer)
    critic = critic.replace(params=project(critic.params, game.config.norm_bound))
    return state.replace(learner=state.learner.replace(critic=critic))


def update_temperature(game: Game, state: GameState, log_prob: Array) -> GameState:
    """One step of log alpha on the policy's mean log pi; it starts again from 0 when the game begins."""
    log_alpha = state.learner.log_alpha
    log_alpha = log_alpha.replace(params=jnp.where(state.step == game.warm_steps, 0.0, log_alpha.params))
    grad = jax.grad(sac.temperature_loss)(log_alpha.params, log_prob, game.agent.target_entropy)
    log_alpha = log_alpha.step(grad, game.agent.temperature_optimizer)
    return state.replace(learner=state.learner.replace(log_alpha=log_alpha))


def update_actor(
    game: Game, state: GameState, obs: Array, cloned: Array, log_prob: Array, key: Key
) -> tuple[GameState, Metrics]:
    """The temperature on the mean `log_prob` of the actions drawn with `key`, then the actor on the same actions."""
    state = update_temperature(game, state, log_prob)
    (_, objective), grads = jax.value_and_grad(actor_loss, argnums=1, has_aux=True)(
        game, state.learner.actor.params, state, obs, cloned, key
    )
    actor = state.learner.actor.step(grads, game.agent.actor_optimizer)
    metrics = {"actor_loss": objective, "entropy": -log_prob, "alpha": jnp.exp(state.learner.log_alpha.params)}
    return state.replace(learner=state.learner.replace(actor=actor)), metrics


def finish_step(game: Game, state: GameState) -> GameState:
    """The targets' Polyak step, a full one at the end of the warm start, and the count."""
    rate = jnp.where(state.step + 1 == game.warm_steps, 1.0, game.config.tau)
    target = optax.incremental_update(state.learner.critic.params, state.learner.target, rate)
    return state.replace(learner=state.learner.replace(target=target), step=state.step + 1)
