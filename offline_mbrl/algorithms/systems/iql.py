"""IQL: implicit Q-learning, which never asks for the value of an action that is not in the data.

Kostrikov et al. 2022, arXiv 2110.06169. V is an upper expectile of Q over the data's actions, Q is regressed on V of
the next state, and the policy clones the data weighted by the advantage:

    L_V = mean |tau - 1(u < 0)| u^2,             u = min_k Qbar_k(s, a) - V(s)
    L_pi = -mean min(exp(beta u'), 100) log pi(a|s),    u' = min_k Qbar_k(s, a) - V_new(s)
    L_Q = sum_k mean (Q_k(s, a) - r - gamma discount V_new(s'))^2
"""

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, sample_rows
from offline_mbrl.config import Config
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import ACTION_MARGIN, MLP, Params, apply, critic_ensemble, init_params, orthogonal
from offline_mbrl.nn.train_state import TrainState, cosine_adam, polyak
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

ORTHOGONAL = orthogonal(2**0.5)
LOG_STD_BOUNDS = (-5.0, 2.0)


class IQLConfig(Config):
    """Hyper-parameters of IQL; the defaults are those of its official code on the MuJoCo tasks."""

    discount: float = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: float = Field(0.005, gt=0, le=1, description="Polyak step of the target critics")
    batch_size: int = Field(256, ge=1, description="rows of one gradient step")
    hidden: tuple[int, ...] = Field((256, 256), description="widths of all hidden layers")
    actor_lr: float = Field(3e-4, gt=0, description="Adam rate of the actor")
    actor_lr_decay: bool = Field(True, description="cosine decay of the actor's rate to 0 over the run")
    critic_lr: float = Field(3e-4, gt=0, description="Adam rate of the critics")
    value_lr: float = Field(3e-4, gt=0, description="Adam rate of V")
    expectile: float = Field(0.7, gt=0, lt=1, description="tau of the paper, the expectile that V is")
    inverse_temperature: float = Field(3.0, ge=0, description="beta, how much the advantage weighs; 0 is cloning")
    weight_max: float = Field(100.0, gt=0, description="upper clip of the exponentiated advantage")
    return_range: float | None = Field(
        1000.0, gt=0, description="rewards are scaled so that episode returns span this; not scaled when absent"
    )


class Actor(nn.Module):
    """The mean tanh(MLP(s)) and a log standard deviation that is one vector for all states."""

    hidden: tuple[int, ...]
    action_dim: int

    @nn.compact
    def __call__(self, obs: Array) -> tuple[Array, Array]:
        mean = jnp.tanh(MLP(self.hidden, self.action_dim, kernel_init=ORTHOGONAL)(obs))
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_dim,))
        return mean, jnp.broadcast_to(jnp.clip(log_std, *LOG_STD_BOUNDS), mean.shape)


class IQLState(struct.PyTreeNode):
    """Policy, values, and the scale that the data's returns give the rewards."""

    actor: TrainState
    value: TrainState
    critic: TrainState
    target: Params
    reward_scale: Array


def reward_scale(episode_return: Array, span: float | None) -> Array:
    """span / (max - min) of the episodes' returns [n]; 1 where they are all alike or no span is asked for."""
    width = episode_return.max() - episode_return.min()
    return jnp.ones(()) if span is None else jnp.where(width > 0, span / jnp.where(width > 0, width, 1.0), 1.0)


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


def critic_loss(q: Array, batch: Transition, next_value: Array, discount: float) -> Array:
    """sum_k mean_b (Q_k - y)^2, y = r + gamma discount V(s') without a gradient, for q [2, B] and next_value [B]."""
    target = jax.lax.stop_gradient(batch.reward + discount * batch.discount * next_value)
    return jnp.square(q - target).mean(axis=-1).sum()


def build(problem: Problem, config: IQLConfig, steps: int) -> Algorithm:
    """IQL for a run of `steps` gradient steps."""
    actor = Actor(config.hidden, problem.action_dim)
    value = MLP(config.hidden, 1, kernel_init=ORTHOGONAL)
    critic = critic_ensemble(2, config.hidden, ORTHOGONAL)
    actor_optimizer = cosine_adam(config.actor_lr, steps if config.actor_lr_decay else None)
    value_optimizer, critic_optimizer = optax.adam(config.value_lr), optax.adam(config.critic_lr)

    def pi(params: Params, obs: Array) -> tuple[Array, Array]:
        mean, log_std = apply(actor, params, obs)
        return mean, log_std

    def v_value(params: Params, obs: Array) -> Array:
        return apply(value, params, obs).squeeze(-1)

    def q_values(params: Params, obs: Array, action: Array) -> Array:
        return apply(critic, params, obs, action)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> IQLState:
        critic_params = init_params(critic, stream(key, "critic"), problem.obs_dim, problem.action_dim)
        return IQLState(
            actor=TrainState.create(init_params(actor, stream(key, "actor"), problem.obs_dim), actor_optimizer),
            value=TrainState.create(init_params(value, stream(key, "value"), problem.obs_dim), value_optimizer),
            critic=TrainState.create(critic_params, critic_optimizer),
            target=jax.tree.map(jnp.copy, critic_params),
            reward_scale=reward_scale(data.episode_return, config.return_range),
        )

    def sample(state: IQLState, data: Data, key: Key) -> Transition:
        batch = sample_rows(data.transitions, key, config.batch_size)
        inside = jnp.clip(batch.action, -1.0 + ACTION_MARGIN, 1.0 - ACTION_MARGIN)
        return batch._replace(action=inside, reward=state.reward_scale * batch.reward)

    def update(state: IQLState, batch: Transition, key: Key) -> tuple[IQLState, Metrics]:
        q_data = q_values(state.target, batch.obs, batch.action).min(axis=0)

        def value_loss(params: Params) -> Array:
            return expectile_loss(q_data - v_value(params, batch.obs), config.expectile)

        value_error, grads = jax.value_and_grad(value_loss)(state.value.params)
        v = state.value.step(grads, value_optimizer)
        advantage = q_data - v_value(v.params, batch.obs)
        weight = advantage_weight(advantage, config.inverse_temperature, config.weight_max)

        def actor_loss(params: Params) -> Array:
            return -(weight * log_prob(*pi(params, batch.obs), batch.action)).mean()

        actor_error, grads = jax.value_and_grad(actor_loss)(state.actor.params)
        new_actor = state.actor.step(grads, actor_optimizer)
        next_value = v_value(v.params, batch.next_obs)

        def loss(params: Params) -> tuple[Array, Array]:
            q = q_values(params, batch.obs, batch.action)
            return critic_loss(q, batch, next_value, config.discount), q.mean()

        (critic_error, q_mean), grads = jax.value_and_grad(loss, has_aux=True)(state.critic.params)
        new_critic = state.critic.step(grads, critic_optimizer)
        metrics = {
            "value_loss": value_error,
            "actor_loss": actor_error,
            "critic_loss": critic_error,
            "q": q_mean,
            "advantage": advantage.mean(),
            "weight": weight.mean(),
        }
        target = polyak(state.target, new_critic.params, config.tau)
        return state.replace(actor=new_actor, value=v, critic=new_critic, target=target), metrics

    def act(state: IQLState, obs: Array, key: Key, deterministic: bool) -> Array:
        mean, log_std = pi(state.actor.params, obs)
        noise = 0.0 if deterministic else jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        return jnp.clip(mean + noise, -1.0, 1.0)

    return Algorithm(init, sample, update, act)


DEFINITION = Definition(
    name="iql",
    title="Implicit Q-Learning",
    paper="Kostrikov et al., ICLR 2022, arXiv 2110.06169",
    equation="V = expectile_tau of min Q(s, a) over the data;  max_pi mean min(exp(beta (Q - V)), 100) log pi(a|s)",
    config=IQLConfig,
    build=build,
    deviations=(
        "Next observations are the true ones of the file, and the rows of time-outs are kept; the official code reads "
        "the data through d4rl.qlearning_dataset and cuts episodes where two rows do not join.",
        "The returns that set the scale of the rewards are those of the file's episodes; if all episodes return the "
        "same, rewards are not scaled.",
    ),
)
