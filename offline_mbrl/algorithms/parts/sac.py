"""The actor-critic parts that most systems specialise: soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905).

One gradient step, in this order: critics toward the soft Bellman target, actor on the new critics, temperature,
Polyak average of the targets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.config import Config, Number, Widths, added
from offline_mbrl.keys import stream
from offline_mbrl.nn.inits import ACTORS, CRITICS, Init
from offline_mbrl.nn.networks import (
    GaussianActor,
    Params,
    apply,
    critic_ensemble,
    init_params,
    map_critics,
    one_of,
    tanh_gaussian,
)
from offline_mbrl.nn.train_state import TrainState, cosine_adam, polyak
from offline_mbrl.types import Array, Key, Metrics, Problem, Transition


class SACConfig(Config):
    """Hyper-parameters of the actor-critic; the defaults are those of OfflineRL-Kit's model-based runs."""

    discount: Number = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: Number = Field(0.005, gt=0, le=1, description="Polyak step of the target critics")
    batch_size: int = Field(256, ge=1, description="rows of one gradient step")
    hidden: Widths = (256, 256)
    critics: int = Field(2, ge=1, description="critics whose minimum is the value")
    actor_lr: Number = Field(1e-4, gt=0, description="Adam rate of the actor")
    actor_lr_decay: bool = Field(True, description="cosine decay of the actor's rate to 0 over the run")
    critic_lr: Number = Field(3e-4, gt=0, description="Adam rate of the critics")
    temperature_lr: Number = Field(1e-4, gt=0, description="Adam rate of log alpha")
    temperature: Number | None = Field(None, ge=0, description="fixed entropy weight alpha; learned when absent")
    temperature_max: Number | None = Field(1.0, gt=0, description="upper clamp of the learned alpha; none when absent")
    target_entropy: Number | None = Field(None, description="entropy goal; minus the action dimension when absent")
    entropy_in_target: bool = Field(True, description="subtract alpha log pi in the Bellman target")
    log_std_bounds: tuple[float, float] = added((-5.0, 2.0), description="clamp of the actor's log-std")
    init: Init = added(
        "glorot",
        description="how networks are drawn: Glorot, PyTorch's default, that with last layers near 0, or rlkit's",
    )


class SACState(struct.PyTreeNode):
    """Everything that one actor-critic changes."""

    actor: TrainState
    critic: TrainState
    target: Params
    log_alpha: TrainState


@dataclass(frozen=True)
class SAC:
    """The static half of an actor-critic: its networks, optimizers and constants."""

    config: SACConfig
    actor: GaussianActor
    critic: nn.Module
    actor_optimizer: optax.GradientTransformation
    critic_optimizer: optax.GradientTransformation
    temperature_optimizer: optax.GradientTransformation
    target_entropy: float
    problem: Problem


def make(problem: Problem, config: SACConfig, steps: int) -> SAC:
    """Networks and optimizers for a run of `steps` gradient steps."""
    return SAC(
        config=config,
        actor=GaussianActor(config.hidden, problem.action_dim, config.log_std_bounds, ACTORS[config.init]),
        critic=critic_ensemble(config.critics, config.hidden, CRITICS[config.init]),
        actor_optimizer=cosine_adam(config.actor_lr, steps if config.actor_lr_decay else None),
        critic_optimizer=optax.adam(config.critic_lr),
        temperature_optimizer=optax.adam(config.temperature_lr),
        target_entropy=-float(problem.action_dim) if config.target_entropy is None else config.target_entropy,
        problem=problem,
    )


def init(agent: SAC, key: Key) -> SACState:
    """Fresh networks; the targets start as the critics."""
    obs_dim, action_dim = agent.problem.obs_dim, agent.problem.action_dim
    critic = init_params(agent.critic, stream(key, "critic"), obs_dim, action_dim)
    return SACState(
        actor=TrainState.create(init_params(agent.actor, stream(key, "actor"), obs_dim), agent.actor_optimizer),
        critic=TrainState.create(critic, agent.critic_optimizer),
        target=jax.tree.map(jnp.copy, critic),
        log_alpha=TrainState.create(jnp.zeros(()), agent.temperature_optimizer),
    )


def policy_parameters(agent: SAC, actor: Params, obs: Array) -> tuple[Array, Array]:
    """Mean and log standard deviation of the pre-squash Gaussian: [..., m] each."""
    mean, log_std = apply(agent.actor, actor, obs)
    return mean, log_std


def sample_action(agent: SAC, actor: Params, obs: Array, key: Key) -> tuple[Array, Array]:
    """a ~ pi(.|s), reparametrized, and log pi(a|s): [..., m] and [...]."""
    action, log_prob = tanh_gaussian(*policy_parameters(agent, actor, obs)).sample_and_log_prob(seed=key)
    return action, log_prob


def act(agent: SAC, actor: Params, obs: Array, key: Key, deterministic: bool) -> Array:
    """tanh(mean) or a sample of the policy, for observations [..., d]."""
    if deterministic:
        return jnp.tanh(policy_parameters(agent, actor, obs)[0])
    return sample_action(agent, actor, obs, key)[0]


def q_values(agent: SAC, critic: Params, obs: Array, action: Array) -> Array:
    """Q_k(s, a) of every critic: [critics, ...]."""
    one = one_of(agent.critic)
    values: Array = map_critics(lambda params: apply(one, params, obs, action), critic)
    return values


def alpha(agent: SAC, state: SACState) -> Array:
    """The entropy weight in force: fixed, or exp(log alpha) under its clamp."""
    if agent.config.temperature is not None:
        return jnp.asarray(agent.config.temperature)
    ceiling = agent.config.temperature_max
    return jnp.minimum(jnp.exp(state.log_alpha.params), jnp.inf if ceiling is None else ceiling)


def next_value(agent: SAC, state: SACState, next_obs: Array, key: Key) -> Array:
    """V(s') = min_k Qbar_k(s', a') - alpha log pi(a'|s'), a' ~ pi(.|s'); without the entropy if so configured."""
    action, log_prob = sample_action(agent, state.actor.params, next_obs, key)
    value = q_values(agent, state.target, next_obs, action).min(axis=0)
    return value - alpha(agent, state) * log_prob if agent.config.entropy_in_target else value


def bellman_target(agent: SAC, state: SACState, batch: Transition, key: Key) -> Array:
    """y = r + gamma discount V(s'), without a gradient."""
    value = next_value(agent, state, batch.next_obs, key)
    return jax.lax.stop_gradient(batch.reward + agent.config.discount * batch.discount * value)


def critic_loss(agent: SAC, critic: Params, batch: Transition, target: Array) -> tuple[Array, Metrics]:
    """Sum over critics of mean_b (Q_k(s_b, a_b) - y_b)^2, and the means that a curve should show."""
    q = q_values(agent, critic, batch.obs, batch.action)
    loss = jnp.square(q - target).mean(axis=-1).sum()
    return loss, {"critic_loss": loss, "q": q.mean(), "target": target.mean()}


def actor_loss(agent: SAC, actor: Params, state: SACState, obs: Array, key: Key) -> tuple[Array, Array]:
    """mean_b [ alpha log pi(a|s) - min_k Q_k(s, a) ] with a reparametrized; also mean log pi."""
    action, log_prob = sample_action(agent, actor, obs, key)
    value = q_values(agent, state.critic.params, obs, action).min(axis=0)
    return (alpha(agent, state) * log_prob - value).mean(), log_prob.mean()


ActorLoss = Callable[[SAC, Params, SACState, Array, Key], tuple[Array, Array]]
"""(agent, actor, state, obs, key) -> the loss and mean log pi."""


def temperature_loss(log_alpha: Array, log_prob: Array, target_entropy: float) -> Array:
    """-log alpha (log pi + H_target): alpha falls while the policy's entropy -log pi exceeds its goal."""
    return -log_alpha * jax.lax.stop_gradient(log_prob + target_entropy)


def update_critic(
    agent: SAC, state: SACState, loss: Callable[[Params], tuple[Array, Metrics]]
) -> tuple[SACState, Metrics]:
    """One optimizer step of the critics down `loss(critic) -> (scalar, metrics)`."""
    grads, metrics = jax.grad(loss, has_aux=True)(state.critic.params)
    return state.replace(critic=state.critic.step(grads, agent.critic_optimizer)), metrics


def update_actor(
    agent: SAC, state: SACState, obs: Array, key: Key, loss: ActorLoss = actor_loss
) -> tuple[SACState, Metrics]:
    """One step of the actor on the critics as they are, then one of the temperature on the same log pi."""
    (value, log_prob), grads = jax.value_and_grad(loss, argnums=1, has_aux=True)(
        agent, state.actor.params, state, obs, key
    )
    alpha_grad = jax.grad(temperature_loss)(state.log_alpha.params, log_prob, agent.target_entropy)
    updated = state.replace(
        actor=state.actor.step(grads, agent.actor_optimizer),
        log_alpha=state.log_alpha.step(alpha_grad, agent.temperature_optimizer),
    )
    return updated, {"actor_loss": value, "entropy": -log_prob, "alpha": alpha(agent, state)}


def update_target(agent: SAC, state: SACState) -> SACState:
    """Polyak average of the target critics."""
    return state.replace(target=polyak(state.target, state.critic.params, agent.config.tau))


def update_toward(agent: SAC, state: SACState, batch: Transition, target: Array, key: Key) -> tuple[SACState, Metrics]:
    """The whole step toward given values y [B]: critics, actor, temperature, targets."""
    state, critic_metrics = update_critic(agent, state, lambda critic: critic_loss(agent, critic, batch, target))
    state, actor_metrics = update_actor(agent, state, batch.obs, stream(key, "actor"))
    return update_target(agent, state), critic_metrics | actor_metrics


def update(agent: SAC, state: SACState, batch: Transition, key: Key) -> tuple[SACState, Metrics]:
    """The whole step toward the soft Bellman target."""
    return update_toward(agent, state, batch, bellman_target(agent, state, batch, stream(key, "target")), key)
