"""CROP: a conservative reward for model-based offline policy optimization (Li et al. 2023, arXiv 2310.17245).

A reward model is fitted to the data and pushed down at random actions (`parts/reward_model.py`). It replaces
the rewards of the data and of the model rollouts alike, and soft actor-critic does the rest toward

    y = rhat + gamma discount clip( min_k Qbar_k(s', a') - alpha log pi(a'|s'), r_min/(1 - gamma), r_max/(1 - gamma) )
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from pydantic import Field, SerializeAsAny

from offline_mbrl.algorithms.algorithm import Act, Algorithm, Definition, Pretrained
from offline_mbrl.algorithms.parts import branched, reward_model, sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.reward_model import (
    RewardConfig,
    RewardEnsemble,
    RewardRange,
    predict_reward,
    relabel,
)
from offline_mbrl.algorithms.parts.sac import SAC, SACState
from offline_mbrl.config import Number, Width, added
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.dynamics.rollout import Model, ModelStep, ensemble_model
from offline_mbrl.keys import stream
from offline_mbrl.nn.inits import CRITICS
from offline_mbrl.nn.networks import Params, critic_ensemble, tanh_gaussian
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class TransitionConfig(GaussianConfig):
    """The official code's transition model, as far as the shared fit goes: log-std within [-5, 0.25], weighted by 1."""

    weight_decay: tuple[float, ...] = Field((5e-5,) * 5, description="coupled L2 of each layer's weights")
    logvar_trained: bool = Field(False, description="whether the bounds of the log-variance are trained")
    logvar_weight: float = Field(
        0.5,
        gt=0,
        description="weight of the log-variance in the likelihood: 0.5 counts log sigma once, 1 is the likelihood",
    )
    holdout_ratio: float = Field(0.01, gt=0, lt=1, description="share of rows held out")
    holdout_max: int = Field(20_000, ge=1, description="most rows held out")
    patience: int = Field(30, ge=1, description="epochs without any member improving after which the fit stops")


class CROPConfig(BranchedConfig):
    """What CROP adds to its neighbours; the defaults are the official code's for the hopper."""

    reward: RewardConfig = Field(RewardConfig(), description="the conservative reward model")
    relabel: bool = Field(True, description="replace the data's rewards by the model's")
    bound_target: bool = Field(True, description="clip the next value to what rewards of the data's range can sum to")
    critic_updates: int = Field(2, ge=1, description="critic steps, each on its own rows, for one of the actor")
    critic_hidden: tuple[Width, ...] = Field((256, 256), description="widths of the critics' hidden layers")
    action_l2: Number = Field(1e-3, ge=0, description="weight of the mean squared pre-squash mean in the actor's loss")
    log_std_l2: Number = Field(1e-3, ge=0, description="weight of the mean squared log-std in the actor's loss")
    log_std_bounds: tuple[float, float] = Field((-25.0, 10.0), description="clamp of the actor's log-std")
    batch_size: int = Field(512, ge=1, description="rows of one critic step, data and model together")
    real_ratio: float = Field(0.5, ge=0, le=1, description="share of data rows in a batch, rounded down")
    actor_lr_decay: bool = Field(False, description="cosine decay of the actor's rate to 0 over the run")
    temperature_max: Number | None = Field(None, gt=0, description="upper clamp of the learned alpha; none when absent")
    score_samples: bool = added(False, description="score sampled actions, the official protocol, beside the mean ones")
    dynamics: SerializeAsAny[EnsembleConfig] = Field(
        TransitionConfig(), description="the dynamics ensemble; its reward output is not used"
    )


class CROPState(BranchedState):
    """A branched actor-critic's state, and the rewards it is trained with."""

    reward: RewardEnsemble
    rewards: Array  # [n] the rewards that the data rows are trained with


def conservative_model(world: Model, reward: RewardEnsemble) -> Model:
    """`world` with the mean of the reward elites at (s, a), without noise, as its reward."""

    def step(obs: Array, action: Array, key: Key) -> ModelStep:
        return world(obs, action, key)._replace(reward=predict_reward(reward, obs, action))

    return step


def bounded_value(value: Array, bounds: RewardRange, discount: float) -> Array:
    """clip(V, r_min / (1 - gamma), r_max / (1 - gamma))."""
    return jnp.clip(value, bounds.low / (1 - discount), bounds.high / (1 - discount))


def bellman_target(
    config: CROPConfig, agent: SAC, learner: SACState, bounds: RewardRange, batch: Transition, key: Key
) -> Array:
    """y = r + gamma discount V(s'), V bounded after its entropy term if so configured; without a gradient."""
    value = sac.next_value(agent, learner, batch.next_obs, key)
    value = bounded_value(value, bounds, config.discount) if config.bound_target else value
    return jax.lax.stop_gradient(batch.reward + config.discount * batch.discount * value)


def actor_loss(
    config: CROPConfig, agent: SAC, actor: Params, state: SACState, obs: Array, key: Key
) -> tuple[Array, Array]:
    """mean_b [ alpha log pi - min_k Q_k ] + c_1 mean mu^2 + c_2 mean (log sigma)^2; also mean log pi.

    mu and sigma are those of the Gaussian before the squash, their means over rows and dimensions.
    """
    mean, log_std = sac.policy_parameters(agent, actor, obs)
    action, log_prob = tanh_gaussian(mean, log_std).sample_and_log_prob(seed=key)
    value = sac.q_values(agent, state.critic.params, obs, action).min(axis=0)
    size = config.action_l2 * jnp.square(mean).mean() + config.log_std_l2 * jnp.square(log_std).mean()
    return (sac.alpha(agent, state) * log_prob - value).mean() + size, log_prob.mean()


def temperature_loss(log_alpha: Array, log_prob: Array, target_entropy: float) -> Array:
    """-exp(log alpha) (log pi + H_target), differentiated through the exponential."""
    return -jnp.exp(log_alpha) * jax.lax.stop_gradient(log_prob + target_entropy)


def update_actor(config: CROPConfig, agent: SAC, state: SACState, obs: Array, key: Key) -> tuple[SACState, Metrics]:
    """One step of the actor, then one of the temperature on actions that the moved actor draws anew."""
    (value, _), grads = jax.value_and_grad(actor_loss, argnums=2, has_aux=True)(
        config, agent, state.actor.params, state, obs, stream(key, "sample")
    )
    state = state.replace(actor=state.actor.step(grads, agent.actor_optimizer))
    log_prob = sac.sample_action(agent, state.actor.params, obs, stream(key, "temperature"))[1].mean()
    alpha_grad = jax.grad(temperature_loss)(state.log_alpha.params, log_prob, agent.target_entropy)
    state = state.replace(log_alpha=state.log_alpha.step(alpha_grad, agent.temperature_optimizer))
    return state, {"actor_loss": value, "entropy": -log_prob, "alpha": sac.alpha(agent, state)}


def make(problem: Problem, config: CROPConfig, steps: int) -> SAC:
    """Soft actor-critic with CROP's wider critics and looser policy."""
    return replace(
        sac.make(problem, config, steps),
        critic=critic_ensemble(config.critics, config.critic_hidden, CRITICS[config.init]),
    )


def pretraining(problem: Problem, config: CROPConfig, steps: int) -> Mapping[str, Pretraining]:
    """The world model and the conservative reward."""
    return {**branched.dynamics(problem, config, steps), "reward": reward_model.pretraining(config.reward)}


def init(config: CROPConfig, agent: SAC, key: Key, data: Data, pretrained: Pretrained) -> CROPState:
    """A branched actor-critic, and the data's rewards as the reward model sees them."""
    start = branched.init(config, agent, key, data, pretrained)
    reward, rows = pretrained["reward"], data.transitions
    rewards = relabel(reward, rows) if config.relabel else rows.reward
    return branched.extend(CROPState, start, reward=reward, rewards=rewards)


def refresh(config: CROPConfig, agent: SAC, state: CROPState, data: Data, key: Key) -> tuple[CROPState, Metrics]:
    """Branches of the policy in the world with the conservative reward, in the ring."""
    model = conservative_model(ensemble_model(state.ensemble, agent.problem.terminates), state.reward)
    metrics = {
        "reward_bias": (state.rewards - data.transitions.reward).mean(),
        "reward_epochs": state.reward.epochs.astype(jnp.float32),
    }
    state, rollout_metrics = branched.keep(
        state, branched.branch(config, model, branched.policy_of(agent, state), data, key)
    )
    return state, metrics | rollout_metrics


def sample(config: CROPConfig, state: CROPState, data: Data, key: Key) -> Transition:
    """[critic_updates, batch_size, ...] rows."""
    relabelled = data._replace(transitions=data.transitions._replace(reward=state.rewards))
    keys = jax.random.split(key, config.critic_updates)
    return jax.vmap(lambda k: branched.mixed_batch(config, state.imagined, relabelled, k))(keys)


def update(config: CROPConfig, agent: SAC, state: CROPState, batch: Transition, key: Key) -> tuple[CROPState, Metrics]:
    """Steps of the critics and targets, each on rows of its own, then one of the actor and the temperature."""

    def critic_step(learner: SACState, draw: tuple[Transition, Key]) -> tuple[SACState, Metrics]:
        rows, key = draw
        y = bellman_target(config, agent, learner, state.reward.range, rows, key)
        learner, metrics = sac.update_critic(agent, learner, lambda critic: sac.critic_loss(agent, critic, rows, y))
        return sac.update_target(agent, learner), metrics

    keys = jax.random.split(stream(key, "target"), config.critic_updates)
    learner, critic_metrics = jax.lax.scan(critic_step, state.learner, (batch, keys))
    learner, metrics = update_actor(config, agent, learner, batch.obs[-1], stream(key, "actor"))
    return state.replace(learner=learner), jax.tree.map(jnp.mean, critic_metrics) | metrics


def act_sampled(agent: SAC, state: CROPState, obs: Array, key: Key, deterministic: bool) -> Array:
    """A sample of the policy at one observation [d], whose own bits are the randomness: acting is given no other."""
    bits = jax.lax.bitcast_convert_type(obs.astype(jnp.float32), jnp.uint32)
    return branched.act(agent, state, obs, jax.random.fold_in(key, jnp.bitwise_xor.reduce(bits)), False)


def build(problem: Problem, config: CROPConfig, steps: int) -> Algorithm:
    """CROP's functions for a run of `steps` gradient steps of the actor."""
    agent = make(problem, config, steps)
    mean: Act = partial(branched.act, agent)
    return Algorithm(
        init=partial(init, config, agent),
        sample=partial(sample, config),
        update=partial(update, config, agent),
        act=mean,
        refresh=partial(refresh, config, agent),
        refresh_every=config.rollout_every,
        variants={"mean actions": mean, "sampled actions": partial(act_sampled, agent)} if config.score_samples else {},
        conclude=branched.conclude,
        value=partial(branched.value, agent),
        law=partial(branched.law, agent),
        samples_ahead=True,
    )


DEFINITION = Definition(
    name="crop",
    title="Conservative Reward for Model-based Offline Policy Optimization",
    paper="Li et al., 2023, arXiv 2310.17245",
    equation="min mean (rhat(s,a) - r)^2 + beta mean (rhat(s,u) - r_min)/(r_max - r_min), u uniform;  SAC on rhat",
    config=CROPConfig,
    build=build,
    pretraining=pretraining,
    deviations=(
        "The transition model is the shared one: it predicts a reward too, which is not used; members share a holdout "
        "of 1 % and draw bootstraps of the rest; the fit stops when no member's squared error falls by 1 % of itself "
        "in 30 epochs. The official code holds out 1 % for each member and counts falls of the likelihood by 1e-4.",
        "The reward fit is capped at 200 epochs, and its holdout meets the same random actions at every epoch; the "
        "official code draws them anew and has a cap of 15,000.",
        "Next observations are those of the file; the official code takes the next row's, wrong at terminals.",
        "Rollouts of the halfcheetah end where a component leaves +-100, and the hopper's rule bounds components on "
        "both sides.",
        "Evaluation takes the mean action; the official code samples 50 episodes, as `score_samples` does beside it.",
        "The log-std of the transition model is within [-5, 0.25] by a soft clamp of the log-variance; the official "
        "code's is of the log-std and bends twice as wide.",
        "The density of a squashed action is exact; the official code adds 1e-6 inside its logarithm, which moves its "
        "targets by up to 8 % where actions saturate.",
    ),
)
