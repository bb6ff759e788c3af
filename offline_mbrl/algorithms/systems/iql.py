"""IQL: implicit Q-learning, which never asks for the value of an action that is not in the data.

Kostrikov et al. 2022, arXiv 2110.06169. V is an upper expectile of Q over the data's actions, Q is regressed on V of
the next state, and the policy clones the data weighted by the advantage:

    L_V = mean |tau - 1(u < 0)| u^2,             u = min_k Qbar_k(s, a) - V(s)
    L_pi = -mean min(exp(beta u'), 100) log pi(a|s),    u' = min_k Qbar_k(s, a) - V_new(s)
    L_Q = sum_k mean (Q_k(s, a) - r - gamma discount V_new(s'))^2
"""

from dataclasses import dataclass
from functools import partial

import chex
import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_rows
from offline_mbrl.algorithms.export import actor_at
from offline_mbrl.config import Config, Number, Width
from offline_mbrl.keys import stream
from offline_mbrl.nn.inits import orthogonal, zero_biased
from offline_mbrl.nn.networks import ACTION_MARGIN, MLP, Params, apply, critic_ensemble, init_params
from offline_mbrl.nn.train_state import TrainState, cosine_adam, polyak
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

ORTHOGONAL = zero_biased(orthogonal(2**0.5))
LOG_STD_BOUNDS = (-5.0, 2.0)


class IQLConfig(Config):
    """Hyper-parameters of IQL; the defaults are those of its official code on the MuJoCo tasks."""

    discount: Number = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: Number = Field(0.005, gt=0, le=1, description="Polyak step of the target critics")
    batch_size: int = Field(256, ge=1, description="rows of one gradient step")
    hidden: tuple[Width, ...] = Field((256, 256), description="widths of all hidden layers")
    actor_lr: Number = Field(3e-4, gt=0, description="Adam rate of the actor")
    actor_lr_decay: bool = Field(True, description="cosine decay of the actor's rate to 0 over the run")
    critic_lr: Number = Field(3e-4, gt=0, description="Adam rate of the critics")
    value_lr: Number = Field(3e-4, gt=0, description="Adam rate of V")
    expectile: Number = Field(0.7, gt=0, lt=1, description="tau of the paper, the expectile that V is")
    inverse_temperature: Number = Field(3.0, ge=0, description="beta, how much the advantage weighs; 0 is cloning")
    weight_max: Number = Field(100.0, gt=0, description="upper clip of the exponentiated advantage")
    return_range: Number | None = Field(
        1000.0, gt=0, description="rewards are scaled so that episode returns span this; not scaled when absent"
    )


class Actor(nn.Module):
    """The mean tanh(MLP(s)) and a log standard deviation that is one vector for all states."""

    hidden: tuple[int, ...]
    action_dim: int

    @nn.compact
    def __call__(self, obs: Array) -> tuple[Array, Array]:
        mean = jnp.tanh(MLP(self.hidden, self.action_dim, layer_init=ORTHOGONAL)(obs))
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_dim,))
        return mean, jnp.broadcast_to(jnp.clip(log_std, *LOG_STD_BOUNDS), mean.shape)


class IQLState(struct.PyTreeNode):
    """Policy, values, and the scale that the data's returns give the rewards."""

    actor: TrainState
    value: TrainState
    critic: TrainState
    target: Params
    reward_scale: Array


@dataclass(frozen=True)
class IQL:
    """The static half: networks, optimizers and constants."""

    config: IQLConfig
    actor: Actor
    value: MLP
    critic: nn.Module
    actor_optimizer: optax.GradientTransformation
    value_optimizer: optax.GradientTransformation
    critic_optimizer: optax.GradientTransformation
    problem: Problem


def make(problem: Problem, config: IQLConfig, steps: int) -> IQL:
    """Networks and optimizers for a run of `steps` gradient steps."""
    return IQL(
        config=config,
        actor=Actor(config.hidden, problem.action_dim),
        value=MLP(config.hidden, 1, layer_init=ORTHOGONAL),
        critic=critic_ensemble(2, config.hidden, ORTHOGONAL),
        actor_optimizer=cosine_adam(config.actor_lr, steps if config.actor_lr_decay else None),
        value_optimizer=optax.adam(config.value_lr),
        critic_optimizer=optax.adam(config.critic_lr),
        problem=problem,
    )


def reward_scale(episode_return: Array, span: float | None) -> Array:
    """span / (max - min) of the episodes' returns [n]; 1 where they are all alike or no span is asked for."""
    width = episode_return.max() - episode_return.min()
    return jnp.ones(()) if span is None else jnp.where(width > 0, span / jnp.where(width > 0, width, 1.0), 1.0)


def init(iql: IQL, key: Key, data: Data, pretrained: Pretrained) -> IQLState:
    """Fresh networks, targets that start as the critics, and the scale of the data's rewards."""
    obs_dim, action_dim = iql.problem.obs_dim, iql.problem.action_dim
    critic = init_params(iql.critic, stream(key, "critic"), obs_dim, action_dim)
    return IQLState(
        actor=TrainState.create(init_params(iql.actor, stream(key, "actor"), obs_dim), iql.actor_optimizer),
        value=TrainState.create(init_params(iql.value, stream(key, "value"), obs_dim), iql.value_optimizer),
        critic=TrainState.create(critic, iql.critic_optimizer),
        target=jax.tree.map(jnp.copy, critic),
        reward_scale=reward_scale(data.episode_return, iql.config.return_range),
    )


def sample(iql: IQL, state: IQLState, data: Data, key: Key) -> Transition:
    """Rows with scaled rewards, and with actions that a density can be taken of."""
    batch = sample_rows(data, key, iql.config.batch_size)
    inside = jnp.clip(batch.action, -1.0 + ACTION_MARGIN, 1.0 - ACTION_MARGIN)
    return batch._replace(action=inside, reward=state.reward_scale * batch.reward)


def policy_parameters(iql: IQL, actor: Params, obs: Array) -> tuple[Array, Array]:
    """Mean and log standard deviation of the policy: [..., m] each."""
    mean, log_std = apply(iql.actor, actor, obs)
    return mean, log_std


def v_value(iql: IQL, value: Params, obs: Array) -> Array:
    """V(s): [...]."""
    return apply(iql.value, value, obs).squeeze(-1)


def q_values(iql: IQL, critic: Params, obs: Array, action: Array) -> Array:
    """Q_k(s, a) of both critics: [2, ...]."""
    return apply(iql.critic, critic, obs, action)


def expectile_loss(u: Array, expectile: float) -> Array:
    """mean |tau - 1(u < 0)| u^2: errors above V weigh tau, those below it 1 - tau."""
    return (jnp.where(u < 0, 1.0 - expectile, expectile) * jnp.square(u)).mean()


def advantage_weight(advantage: Array, inverse_temperature: float, ceiling: float) -> Array:
    """min(exp(beta A), ceiling), without a gradient."""
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(inverse_temperature * advantage), ceiling))


def log_prob(mean: Array, log_std: Array, action: Array) -> Array:
    """log N(a; mean, diag exp(2 log_std)) of actions [..., m]; the sample is not squashed, so no Jacobian."""
    density: Array = distrax.MultivariateNormalDiag(mean, jnp.exp(log_std)).log_prob(action)
    return density


def value_loss(iql: IQL, value: Params, obs: Array, q: Array) -> Array:
    """The expectile loss of u = Q(s, a) - V(s), for q [B] at the data's actions."""
    v = v_value(iql, value, obs)
    chex.assert_equal_shape((q, v))
    return expectile_loss(q - v, iql.config.expectile)


def actor_loss(iql: IQL, actor: Params, batch: Transition, weight: Array) -> Array:
    """-mean_b w_b log pi(a_b|s_b), for weights [B]."""
    density = log_prob(*policy_parameters(iql, actor, batch.obs), batch.action)
    chex.assert_equal_shape((weight, density))
    return -(weight * density).mean()


def critic_loss(iql: IQL, critic: Params, batch: Transition, next_value: Array) -> tuple[Array, Metrics]:
    """sum_k mean_b (Q_k(s_b, a_b) - y_b)^2, y = r + gamma discount V(s') without a gradient, for next_value [B]."""
    q = q_values(iql, critic, batch.obs, batch.action)
    target = jax.lax.stop_gradient(batch.reward + iql.config.discount * batch.discount * next_value)
    chex.assert_shape(target, q.shape[1:])
    loss = jnp.square(q - target).mean(axis=-1).sum()
    return loss, {"critic_loss": loss, "q": q.mean()}


def update_value(iql: IQL, state: IQLState, batch: Transition, q: Array) -> tuple[IQLState, Metrics]:
    """One step of V toward its expectile of q [B]."""
    loss, grads = jax.value_and_grad(value_loss, argnums=1)(iql, state.value.params, batch.obs, q)
    return state.replace(value=state.value.step(grads, iql.value_optimizer)), {"value_loss": loss}


def update_actor(iql: IQL, state: IQLState, batch: Transition, q: Array) -> tuple[IQLState, Metrics]:
    """One step of the policy, its rows weighted by their advantage q - V(s) [B], V as it is."""
    advantage = q - v_value(iql, state.value.params, batch.obs)
    weight = advantage_weight(advantage, iql.config.inverse_temperature, iql.config.weight_max)
    loss, grads = jax.value_and_grad(actor_loss, argnums=1)(iql, state.actor.params, batch, weight)
    metrics = {"actor_loss": loss, "advantage": advantage.mean(), "weight": weight.mean()}
    return state.replace(actor=state.actor.step(grads, iql.actor_optimizer)), metrics


def update_critic(iql: IQL, state: IQLState, batch: Transition) -> tuple[IQLState, Metrics]:
    """One step of the critics toward V of the next state, V as it is."""
    next_value = v_value(iql, state.value.params, batch.next_obs)
    grads, metrics = jax.grad(critic_loss, argnums=1, has_aux=True)(iql, state.critic.params, batch, next_value)
    return state.replace(critic=state.critic.step(grads, iql.critic_optimizer)), metrics


def update_target(iql: IQL, state: IQLState) -> IQLState:
    """Polyak average of the target critics."""
    return state.replace(target=polyak(state.target, state.critic.params, iql.config.tau))


def update(iql: IQL, state: IQLState, batch: Transition, key: Key) -> tuple[IQLState, Metrics]:
    """V, then the policy and the critics on the new V, then the targets; q is the target critics' minimum."""
    q = q_values(iql, state.target, batch.obs, batch.action).min(axis=0)
    state, value_metrics = update_value(iql, state, batch, q)
    state, actor_metrics = update_actor(iql, state, batch, q)
    state, critic_metrics = update_critic(iql, state, batch)
    return update_target(iql, state), value_metrics | actor_metrics | critic_metrics


def act(iql: IQL, state: IQLState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The mean or a sample, clipped to the box."""
    mean, log_std = policy_parameters(iql, state.actor.params, obs)
    noise = 0.0 if deterministic else jnp.exp(log_std) * jax.random.normal(key, mean.shape)
    return jnp.clip(mean + noise, -1.0, 1.0)


def value(iql: IQL, state: IQLState, obs: Array, action: Array) -> Array:
    """min_k Q_k(s, a)."""
    return q_values(iql, state.critic.params, obs, action).min(axis=0)


def law(iql: IQL, state: IQLState, obs: Array) -> tuple[Array, Array]:
    """The policy's Gaussian, which is not squashed."""
    return policy_parameters(iql, state.actor.params, obs)


def build(problem: Problem, config: IQLConfig, steps: int) -> Algorithm:
    """IQL for a run of `steps` gradient steps."""
    iql = make(problem, config, steps)
    functions = partial(init, iql), partial(sample, iql), partial(update, iql), partial(act, iql)
    return Algorithm(*functions, value=partial(value, iql), law=partial(law, iql), samples_ahead=True)


DEFINITION = Definition(
    name="iql",
    title="Implicit Q-Learning",
    paper="Kostrikov et al., ICLR 2022, arXiv 2110.06169",
    equation="V = expectile_tau of min Q(s, a) over the data;  max_pi mean min(exp(beta (Q - V)), 100) log pi(a|s)",
    config=IQLConfig,
    build=build,
    policies=actor_at("actor", noise="added", log_std_bounds=LOG_STD_BOUNDS),
    deviations=(
        "Next observations are the true ones of the file, and the rows of time-outs are kept; the official code reads "
        "the data through d4rl.qlearning_dataset and cuts episodes where two rows do not join.",
        "The returns that set the scale of the rewards are those of the file's episodes; if all episodes return the "
        "same, rewards are not scaled.",
    ),
    across_tasks=True,
)
