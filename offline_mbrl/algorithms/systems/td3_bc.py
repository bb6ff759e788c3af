"""TD3+BC: twin delayed policy gradients that also imitate the data (Fujimoto and Gu 2021, arXiv 2106.06860).

    max_pi  lambda Q_1(s, pi(s)) - (pi(s) - a)^2,    lambda = alpha / mean |Q_1(s, pi(s))|

The actor and both targets move once for every `actor_every` steps of the critics, so one update is that many critic
steps, each on rows of its own, and then one of the actor. A run's length counts critic steps, as the paper does.
"""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, sample_rows
from offline_mbrl.config import Config
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import DeterministicActor, Params, apply, critic_ensemble, init_params, one_of
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.nn.train_state import TrainState, polyak
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

STD_MARGIN = 1e-3
"""Added to the standard deviation of every observation feature, as the official code does."""


class TD3BCConfig(Config):
    """Hyper-parameters of TD3+BC; the defaults are those of its official code, the same on every task."""

    discount: float = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: float = Field(0.005, gt=0, le=1, description="Polyak step of the targets, taken with the actor's steps")
    batch_size: int = Field(256, ge=1, description="rows of one critic step")
    hidden: tuple[int, ...] = Field((256, 256), description="widths of the actor's and critics' hidden layers")
    actor_lr: float = Field(3e-4, gt=0, description="Adam rate of the actor")
    critic_lr: float = Field(3e-4, gt=0, description="Adam rate of the critics")
    actor_every: int = Field(2, ge=1, description="critic steps for one of the actor and the targets")
    policy_noise: float = Field(0.2, ge=0, description="deviation of the noise on the target policy's action")
    noise_clip: float = Field(0.5, ge=0, description="magnitude that the noise is clipped to")
    value_weight: float = Field(2.5, ge=0, description="alpha, weight of the value against the imitation")


class TD3BCState(struct.PyTreeNode):
    """Actor, critics, their targets, and how observations are standardized."""

    actor: TrainState
    critic: TrainState
    target_actor: Params
    target_critic: Params
    observations: Normalizer  # of the data; acting needs it too


def smoothed_action(action: Array, noise: Array, clip: float) -> Array:
    """clip(pibar(s') + clip(noise, -c, c), -1, 1)."""
    return jnp.clip(action + jnp.clip(noise, -clip, clip), -1.0, 1.0)


def bellman_target(batch: Transition, next_q: Array, discount: float) -> Array:
    """y = r + gamma discount min_k Qbar_k(s', a') for next_q [2, B], without a gradient."""
    return jax.lax.stop_gradient(batch.reward + discount * batch.discount * next_q.min(axis=0))


def critic_loss(q: Array, target: Array) -> Array:
    """sum_k mean_b (Q_k(s_b, a_b) - y_b)^2 for q [2, B]."""
    return jnp.square(q - target).mean(axis=-1).sum()


def actor_loss(q: Array, policy_action: Array, action: Array, value_weight: float) -> Array:
    """-lambda mean_b Q_1(s_b, pi(s_b)) + mean_{b,k} (pi(s_b) - a_b)_k^2, lambda = sg(alpha / mean_b |Q_1|).

    Args:
      q: [B] Q_1 at the policy's actions.
      policy_action: [B, m] the policy's actions.
      action: [B, m] those of the data.
      value_weight: alpha.
    """
    weight = value_weight / jax.lax.stop_gradient(jnp.abs(q).mean())
    return -weight * q.mean() + jnp.square(policy_action - action).mean()


def build(problem: Problem, config: TD3BCConfig, steps: int) -> Algorithm:
    """TD3+BC; its length does not depend on `steps`."""
    actor = DeterministicActor(config.hidden, problem.action_dim)
    critic = critic_ensemble(2, config.hidden)
    actor_optimizer, critic_optimizer = optax.adam(config.actor_lr), optax.adam(config.critic_lr)

    def pi(params: Params, obs: Array) -> Array:
        return apply(actor, params, obs)

    def q_values(params: Params, obs: Array, action: Array) -> Array:
        return apply(critic, params, obs, action)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> TD3BCState:
        actor_params = init_params(actor, stream(key, "actor"), problem.obs_dim)
        critic_params = init_params(critic, stream(key, "critic"), problem.obs_dim, problem.action_dim)
        return TD3BCState(
            actor=TrainState.create(actor_params, actor_optimizer),
            critic=TrainState.create(critic_params, critic_optimizer),
            target_actor=jax.tree.map(jnp.copy, actor_params),
            target_critic=jax.tree.map(jnp.copy, critic_params),
            observations=fit_observations(data.transitions.obs),
        )

    def sample(state: TD3BCState, data: Data, key: Key) -> Transition:
        rows = sample_rows(data.transitions, key, config.actor_every * config.batch_size)
        return jax.tree.map(lambda leaf: leaf.reshape(config.actor_every, -1, *leaf.shape[1:]), rows)

    def update_critic(state: TD3BCState, inputs: tuple[Transition, Key]) -> tuple[TD3BCState, Metrics]:
        batch, key = inputs
        noise = config.policy_noise * jax.random.normal(key, batch.action.shape)
        next_action = smoothed_action(pi(state.target_actor, batch.next_obs), noise, config.noise_clip)
        next_q = q_values(state.target_critic, batch.next_obs, next_action)
        target = bellman_target(batch, next_q, config.discount)

        def loss(params: Params) -> tuple[Array, Metrics]:
            q = q_values(params, batch.obs, batch.action)
            value = critic_loss(q, target)
            return value, {"critic_loss": value, "q": q.mean(), "target": target.mean()}

        grads, metrics = jax.grad(loss, has_aux=True)(state.critic.params)
        return state.replace(critic=state.critic.step(grads, critic_optimizer)), metrics

    def update_actor(state: TD3BCState, batch: Transition) -> tuple[TD3BCState, Metrics]:
        first = jax.tree.map(lambda leaf: leaf[0], state.critic.params)

        def loss(params: Params) -> tuple[Array, Metrics]:
            action = pi(params, batch.obs)
            q = jnp.asarray(one_of(critic).apply({"params": first}, batch.obs, action))
            value = actor_loss(q, action, batch.action, config.value_weight)
            return value, {"actor_loss": value, "bc_loss": jnp.square(action - batch.action).mean()}

        grads, metrics = jax.grad(loss, has_aux=True)(state.actor.params)
        return state.replace(actor=state.actor.step(grads, actor_optimizer)), metrics

    def update(state: TD3BCState, batch: Transition, key: Key) -> tuple[TD3BCState, Metrics]:
        normalize = state.observations.apply
        batch = batch._replace(obs=normalize(batch.obs), next_obs=normalize(batch.next_obs))
        keys = jax.random.split(stream(key, "noise"), config.actor_every)
        state, metrics = jax.lax.scan(update_critic, state, (batch, keys))
        state, actor_metrics = update_actor(state, jax.tree.map(lambda leaf: leaf[-1], batch))
        state = state.replace(
            target_actor=polyak(state.target_actor, state.actor.params, config.tau),
            target_critic=polyak(state.target_critic, state.critic.params, config.tau),
        )
        return state, jax.tree.map(jnp.mean, metrics) | actor_metrics

    def act(state: TD3BCState, obs: Array, key: Key, deterministic: bool) -> Array:
        return pi(state.actor.params, state.observations.apply(obs))

    return Algorithm(init, sample, update, act, steps_per_update=config.actor_every)


def fit_observations(obs: Array) -> Normalizer:
    """Mean and standard deviation of observations [n, d], the latter widened by `STD_MARGIN`."""
    return Normalizer(obs.mean(axis=0), obs.std(axis=0) + STD_MARGIN)


DEFINITION = Definition(
    name="td3_bc",
    title="TD3 with Behavior Cloning",
    paper="Fujimoto and Gu, NeurIPS 2021, arXiv 2106.06860",
    equation="max_pi lambda Q_1(s, pi(s)) - (pi(s) - a)^2,  lambda = alpha / mean |Q_1(s, pi(s))|",
    config=TD3BCConfig,
    build=build,
    deviations=(
        "Weights start Glorot-uniform with zero biases; the official code has PyTorch's default.",
        "Next observations are the true ones of the file, and the rows of time-outs are kept; the official code reads "
        "the data through d4rl.qlearning_dataset.",
    ),
)
