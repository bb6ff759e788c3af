"""TD3+BC: twin delayed policy gradients that also imitate the data (Fujimoto and Gu 2021, arXiv 2106.06860).

    max_pi  lambda Q_1(s, pi(s)) - (pi(s) - a)^2,    lambda = alpha / mean |Q_1(s, pi(s))|

The actor and both targets move once for every `actor_every` steps of the critics, so one update is that many critic
steps, each on rows of its own, and then one of the actor. A run's length counts critic steps, as the paper does.
"""

from dataclasses import dataclass
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_rows
from offline_mbrl.algorithms.export import actor_at
from offline_mbrl.config import Config, Number, Widths
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import DeterministicActor, Params, apply, critic_ensemble, init_params, one_of
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.nn.train_state import TrainState, polyak
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

STD_MARGIN = 1e-3
"""Added to the standard deviation of every observation feature, as the official code does."""


class TD3BCConfig(Config):
    """Hyper-parameters of TD3+BC; the defaults are those of its official code, the same on every task."""

    discount: Number = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: Number = Field(0.005, gt=0, le=1, description="Polyak step of the targets, taken with the actor's steps")
    batch_size: int = Field(256, ge=1, description="rows of one critic step")
    hidden: Widths = (256, 256)
    actor_lr: Number = Field(3e-4, gt=0, description="Adam rate of the actor")
    critic_lr: Number = Field(3e-4, gt=0, description="Adam rate of the critics")
    actor_every: int = Field(2, ge=1, description="critic steps for one of the actor and the targets")
    policy_noise: Number = Field(0.2, ge=0, description="deviation of the noise on the target policy's action")
    noise_clip: Number = Field(0.5, ge=0, description="magnitude that the noise is clipped to")
    value_weight: Number = Field(2.5, ge=0, description="alpha, weight of the value against the imitation")


class TD3BCState(struct.PyTreeNode):
    """Actor, critics, their targets, and how observations are standardized."""

    actor: TrainState
    critic: TrainState
    target_actor: Params
    target_critic: Params
    observations: Normalizer  # of the data; acting needs it too


@dataclass(frozen=True)
class TD3BC:
    """The static half: networks, optimizers and constants."""

    config: TD3BCConfig
    actor: DeterministicActor
    critic: nn.Module
    actor_optimizer: optax.GradientTransformation
    critic_optimizer: optax.GradientTransformation
    problem: Problem


def make(problem: Problem, config: TD3BCConfig) -> TD3BC:
    """Networks and optimizers; the rates are constant, whatever the length of the run."""
    return TD3BC(
        config=config,
        actor=DeterministicActor(config.hidden, problem.action_dim),
        critic=critic_ensemble(2, config.hidden),
        actor_optimizer=optax.adam(config.actor_lr),
        critic_optimizer=optax.adam(config.critic_lr),
        problem=problem,
    )


def init(td3: TD3BC, key: Key, data: Data, pretrained: Pretrained) -> TD3BCState:
    """Fresh networks, targets that start as they are, and the data's scale of observations."""
    obs_dim, action_dim = td3.problem.obs_dim, td3.problem.action_dim
    actor = init_params(td3.actor, stream(key, "actor"), obs_dim)
    critic = init_params(td3.critic, stream(key, "critic"), obs_dim, action_dim)
    return TD3BCState(
        actor=TrainState.create(actor, td3.actor_optimizer),
        critic=TrainState.create(critic, td3.critic_optimizer),
        target_actor=jax.tree.map(jnp.copy, actor),
        target_critic=jax.tree.map(jnp.copy, critic),
        observations=Normalizer.fit(data.transitions.obs, STD_MARGIN),
    )


def sample(td3: TD3BC, state: TD3BCState, data: Data, key: Key) -> Transition:
    """Rows of their own for every critic step of one update: [actor_every, B, ...]."""
    every = td3.config.actor_every
    rows = sample_rows(data, key, every * td3.config.batch_size)
    return jax.tree.map(lambda leaf: leaf.reshape(every, -1, *leaf.shape[1:]), rows)


def policy_action(td3: TD3BC, actor: Params, obs: Array) -> Array:
    """pi(s) of standardized observations: [..., m]."""
    return apply(td3.actor, actor, obs)


def q_values(td3: TD3BC, critic: Params, obs: Array, action: Array) -> Array:
    """Q_k(s, a) of both critics: [2, ...]."""
    return apply(td3.critic, critic, obs, action)


def first_value(td3: TD3BC, critic: Params, obs: Array, action: Array) -> Array:
    """Q_1(s, a) alone: [...]."""
    return apply(one_of(td3.critic), jax.tree.map(lambda leaf: leaf[0], critic), obs, action)


def smoothed_action(action: Array, noise: Array, clip: float) -> Array:
    """clip(pibar(s') + clip(noise, -c, c), -1, 1)."""
    return jnp.clip(action + jnp.clip(noise, -clip, clip), -1.0, 1.0)


def bellman_target(td3: TD3BC, state: TD3BCState, batch: Transition, key: Key) -> Array:
    """y = r + gamma discount min_k Qbar_k(s', a'), a' the smoothed action of pibar, without a gradient: [B]."""
    noise = td3.config.policy_noise * jax.random.normal(key, batch.action.shape)
    action = smoothed_action(policy_action(td3, state.target_actor, batch.next_obs), noise, td3.config.noise_clip)
    value = q_values(td3, state.target_critic, batch.next_obs, action).min(axis=0)
    return jax.lax.stop_gradient(batch.reward + td3.config.discount * batch.discount * value)


def critic_loss(td3: TD3BC, critic: Params, batch: Transition, target: Array) -> tuple[Array, Metrics]:
    """sum_k mean_b (Q_k(s_b, a_b) - y_b)^2 for y [B]."""
    q = q_values(td3, critic, batch.obs, batch.action)
    chex.assert_shape(target, q.shape[1:])
    loss = jnp.square(q - target).mean(axis=-1).sum()
    return loss, {"critic_loss": loss, "q": q.mean(), "target": target.mean()}


def actor_loss(td3: TD3BC, actor: Params, critic: Params, batch: Transition) -> tuple[Array, Metrics]:
    """-lambda mean_b Q_1(s_b, pi(s_b)) + mean_{b,k} (pi(s_b) - a_b)_k^2, lambda = sg(alpha / mean_b |Q_1|)."""
    action = policy_action(td3, actor, batch.obs)
    q = first_value(td3, critic, batch.obs, action)
    weight = td3.config.value_weight / jax.lax.stop_gradient(jnp.abs(q).mean())
    imitation = jnp.square(action - batch.action).mean()
    loss = -weight * q.mean() + imitation
    return loss, {"actor_loss": loss, "bc_loss": imitation}


def update_critic(td3: TD3BC, state: TD3BCState, batch: Transition, key: Key) -> tuple[TD3BCState, Metrics]:
    """One step of the critics toward targets that stand still."""
    target = bellman_target(td3, state, batch, key)
    grads, metrics = jax.grad(critic_loss, argnums=1, has_aux=True)(td3, state.critic.params, batch, target)
    return state.replace(critic=state.critic.step(grads, td3.critic_optimizer)), metrics


def update_actor(td3: TD3BC, state: TD3BCState, batch: Transition) -> tuple[TD3BCState, Metrics]:
    """One step of the actor on the critics as they are."""
    grads, metrics = jax.grad(actor_loss, argnums=1, has_aux=True)(td3, state.actor.params, state.critic.params, batch)
    return state.replace(actor=state.actor.step(grads, td3.actor_optimizer)), metrics


def update_targets(td3: TD3BC, state: TD3BCState) -> TD3BCState:
    """Polyak averages of the actor and the critics."""
    return state.replace(
        target_actor=polyak(state.target_actor, state.actor.params, td3.config.tau),
        target_critic=polyak(state.target_critic, state.critic.params, td3.config.tau),
    )


def update(td3: TD3BC, state: TD3BCState, batch: Transition, key: Key) -> tuple[TD3BCState, Metrics]:
    """A critic step on each of the batch's parts, then one of the actor on the last of them, then the targets."""
    normalize = state.observations.apply
    batch = batch._replace(obs=normalize(batch.obs), next_obs=normalize(batch.next_obs))
    keys = jax.random.split(stream(key, "noise"), td3.config.actor_every)

    def step(state: TD3BCState, inputs: tuple[Transition, Key]) -> tuple[TD3BCState, Metrics]:
        return update_critic(td3, state, *inputs)

    state, metrics = jax.lax.scan(step, state, (batch, keys))
    state, actor_metrics = update_actor(td3, state, jax.tree.map(lambda leaf: leaf[-1], batch))
    return update_targets(td3, state), jax.tree.map(jnp.mean, metrics) | actor_metrics


def act(td3: TD3BC, state: TD3BCState, obs: Array, key: Key, deterministic: bool) -> Array:
    """pi(s) of an observation as the task gives it."""
    return policy_action(td3, state.actor.params, state.observations.apply(obs))


def value(td3: TD3BC, state: TD3BCState, obs: Array, action: Array) -> Array:
    """min_k Q_k(s, a) of an observation as the task gives it."""
    return q_values(td3, state.critic.params, state.observations.apply(obs), action).min(axis=0)


def build(problem: Problem, config: TD3BCConfig, steps: int) -> Algorithm:
    """TD3+BC; its length does not depend on `steps`."""
    td3 = make(problem, config)
    functions = partial(init, td3), partial(sample, td3), partial(update, td3), partial(act, td3)
    return Algorithm(*functions, steps_per_update=config.actor_every, samples_ahead=True, value=partial(value, td3))


DEFINITION = Definition(
    name="td3_bc",
    title="TD3 with Behavior Cloning",
    paper="Fujimoto and Gu, NeurIPS 2021, arXiv 2106.06860",
    equation="max_pi lambda Q_1(s, pi(s)) - (pi(s) - a)^2,  lambda = alpha / mean |Q_1(s, pi(s))|",
    config=TD3BCConfig,
    build=build,
    policies=actor_at("actor", noise="none", normalizer="observations"),
    deviations=(
        "Weights start Glorot-uniform with zero biases; the official code has PyTorch's default.",
        "Next observations are the true ones of the file, and the rows of time-outs are kept; the official code reads "
        "the data through d4rl.qlearning_dataset.",
    ),
    across_tasks=True,
)
