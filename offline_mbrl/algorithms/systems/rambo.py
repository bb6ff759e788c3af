"""RAMBO: robust adversarial model-based offline RL (Rigter et al. 2022, arXiv 2204.12581).

SAC on data and branched rollouts of a model that is trained against the policy in alternation,

    min_phi  lambda E_{s, a ~ pi, s' ~ phi}[ A(s, a, s') ]  +  L_MLE(phi; D),      A = r + gamma V(s') - Q(s, a),

by the score-function gradient of the first term. Policy, critics and model live in the space of z-scored observations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.scipy.stats import norm
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_indices, sample_rows
from offline_mbrl.algorithms.export import actor_at
from offline_mbrl.algorithms.parts import branched, cloning, sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.cloning import CloningConfig
from offline_mbrl.algorithms.parts.sac import SAC, SACState
from offline_mbrl.config import Number
from offline_mbrl.dynamics import fit
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian, draw, only_elites, predict, predict_random_elite
from offline_mbrl.dynamics.models import gaussian
from offline_mbrl.dynamics.models.gaussian import GaussianConfig, Weights
from offline_mbrl.dynamics.rollout import ActionSampler, standardized_model
from offline_mbrl.keys import stream
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

TINY = 1e-6
"""Added to the standard deviation of the advantages."""


class RAMBOEnsembleConfig(GaussianConfig):
    """The ensemble of the official code, on z-scored observations."""

    learning_rate: Number = Field(3e-4, gt=0, description="Adam rate, one optimizer for all members")
    logvar_init: tuple[float, float] = Field((-6.0, 1.0), description="initial bounds of the log-variance")
    logvar_penalty: float = Field(0.001, ge=0, description="weight of sum(max) - sum(min) of the bounds in the loss")
    holdout_ratio: float = Field(0.1, gt=0, lt=1, description="share of rows held out")
    patience: int = Field(11, ge=1, description="epochs without any member improving after which the fit stops")
    standardize: Literal[True] = Field(True, description="fit on z-scored observations; RAMBO has no other form")


class RAMBOConfig(BranchedConfig):
    """The adversarial phase and what the official configuration changes of its neighbours."""

    adversary_weight: Number = Field(3e-4, ge=0, le=1, description="lambda; 0 leaves the model as it was fitted")
    adversary_steps: int = Field(1000, ge=1, description="model steps between two refreshes")
    adversary_lr: Number = Field(3e-4, gt=0, description="Adam rate of the model under the adversary")
    pretrain_epochs: int = Field(50, ge=0, description="epochs of behavior cloning before the first step")
    actor_lr_decay: bool = Field(False, description="cosine decay of the actor's rate to 0 over the run")
    temperature_max: Number | None = Field(None, gt=0, description="upper clamp of the learned alpha; none when absent")
    real_ratio: float = Field(0.5, ge=0, le=1, description="share of data rows in a batch, rounded down")
    dynamics: RAMBOEnsembleConfig = Field(RAMBOEnsembleConfig(), description="the dynamics ensemble")


class RAMBOState(BranchedState):
    """A branched actor-critic's state, whose ensemble goes on learning; imagined rows are in the task's own units."""

    model_opt_state: optax.OptState  # of the adversary, apart from the fit's
    normalizer: Normalizer


class Score(NamedTuple):
    """What the adversary needs of a batch of imagined steps, without gradients."""

    obs: Array  # [B, d]
    action: Array  # [B, m]
    outcome: Array  # [B, d + 1] the sampled (r, s' - s)
    advantage: Array  # [B]


@dataclass(frozen=True)
class RAMBO:
    """The static half: settings, actor-critic, and the optimizer of the model under the adversary."""

    config: RAMBOConfig
    agent: SAC
    model_optimizer: optax.GradientTransformation


def mixture_log_density(prediction: Gaussian, y: Array) -> Array:
    """log (1/E) sum_i N(y; mu_i, diag sigma_i^2) over (r, s' - s) jointly: [B] for means [E, B, k] and y [B, k].

    In logarithms throughout: densities of a sharp model reach e^50 and overflow float32.
    """
    each = norm.logpdf(y, prediction.mean, prediction.std).sum(axis=-1)
    return jax.nn.logsumexp(each, axis=0) - jnp.log(each.shape[0])


def whiten(advantage: Array) -> Array:
    """(A - mean) / std over the batch [B]."""
    return (advantage - advantage.mean()) / (advantage.std() + TINY)


def adversary_loss(
    config: RAMBOConfig, weights: Weights, ensemble: Ensemble, score: Score, x: Array, y: Array
) -> tuple[Array, Metrics]:
    """lambda mean_b A_b log phi(y_b|s_b, a_b) + L_MLE(x, y): lowers the likelihood of what turned out well.

    Args:
      config: lambda and the ensemble's loss.
      weights: of all members, which are trained; the mixture is over the elites.
      ensemble: the scaler and the elites.
      score: imagined steps and their whitened advantages.
      x: [N, B, d + m] standardized inputs of data rows, of its own for each member.
      y: [N, B, d + 1] their targets.
    """
    elites = only_elites(ensemble.replace(weights=weights))
    log_density = mixture_log_density(predict(elites, score.obs, score.action), score.outcome)
    adversary = config.adversary_weight * (score.advantage * log_density).mean()
    likelihood = gaussian.loss(config.dynamics, weights, x, y)
    return adversary + likelihood, {"adversary_loss": adversary, "model_loss": likelihood}


def advantage(agent: SAC, learner: SACState, rows: Transition) -> Array:
    """A = r + gamma discount min_k Q_k(s', tanh mean pi(s')) - min_k Q_k(s, a), by the online critics: [B]."""
    actor, critic = learner.actor.params, learner.critic.params
    next_action = jnp.tanh(sac.policy_parameters(agent, actor, rows.next_obs)[0])
    next_value = sac.q_values(agent, critic, rows.next_obs, next_action).min(axis=0)
    value = sac.q_values(agent, critic, rows.obs, rows.action).min(axis=0)
    return rows.reward + agent.config.discount * rows.discount * next_value - value


def imagine(
    agent: SAC, learner: SACState, ensemble: Ensemble, normalizer: Normalizer, obs: Array, key: Key
) -> tuple[Score, Array, Array]:
    """One imagined step of the stochastic policy from z-scored obs [B, d]: its score, A before whitening, and s'."""
    action, _ = sac.sample_action(agent, learner.actor.params, obs, stream(key, "action"))
    y = draw(predict_random_elite(ensemble, obs, action, stream(key, "elite")), stream(key, "noise"))
    next_obs = obs + y[:, 1:]
    discount = 1.0 - agent.problem.terminates(normalizer.invert(next_obs))
    gain = advantage(agent, learner, Transition(obs, action, y[:, 0], discount, next_obs))
    return jax.lax.stop_gradient(Score(obs, action, y, whiten(gain))), gain, next_obs


def adversary_phase(
    rambo: RAMBO, state: RAMBOState, data: Data, key: Key
) -> tuple[tuple[Weights, optax.OptState], Metrics]:
    """`adversary_steps` steps of the model against the policy as it is: the model's new weights and optimizer state.

    The branches start at data states and go on from the sampled s', terminal or not, for `horizon` steps; then anew.
    """
    config, agent, optimizer = rambo.config, rambo.agent, rambo.model_optimizer
    ensemble, size = state.ensemble, config.dynamics.batch_size

    def step(
        carry: tuple[Array, Weights, optax.OptState], now: tuple[Array, Key]
    ) -> tuple[tuple[Array, Weights, optax.OptState], Metrics]:
        (obs, weights, opt_state), (number, key) = carry, now
        starts = state.normalizer.apply(sample_rows(data, stream(key, "starts"), config.batch_size).obs)
        obs = jnp.where(number % config.horizon == 0, starts, obs)
        current = ensemble.replace(weights=weights)
        score, gain, next_obs = imagine(agent, state.learner, current, state.normalizer, obs, key)
        index = sample_indices(data, stream(key, "data"), config.dynamics.members * size).reshape(-1, size)
        batch = fit.standardize(state.normalizer, jax.tree.map(lambda leaf: leaf[index], data.transitions))
        grads, metrics = jax.grad(adversary_loss, argnums=1, has_aux=True)(
            config, weights, ensemble, score, ensemble.inputs.apply(fit.inputs(batch)), fit.targets(batch)
        )
        updates, opt_state = optimizer.update(grads, opt_state, weights)
        return (next_obs, optax.apply_updates(weights, updates), opt_state), metrics | {"advantage": gain.mean()}

    numbers = jnp.arange(config.adversary_steps)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    obs = jnp.zeros((config.batch_size, agent.problem.obs_dim))
    carry = (obs, cast(Weights, ensemble.weights), state.model_opt_state)
    (_, weights, opt_state), metrics = jax.lax.scan(step, carry, (numbers, keys))
    return (weights, opt_state), jax.tree.map(jnp.mean, metrics)


def move_model(rambo: RAMBO, state: RAMBOState, data: Data, key: Key) -> tuple[RAMBOState, Metrics]:
    """The state after an adversary phase; as it was without a weight, and before the first refresh.

    Before the first refresh there are no values yet to work against, and the phase is undone.
    """
    weight = rambo.config.adversary_weight
    if isinstance(weight, float) and weight == 0:
        return state, {}
    result, metrics = adversary_phase(rambo, state, data, key)
    undone = (state.imagined.size == 0) | (jnp.asarray(weight) == 0)
    weights, opt_state = jax.tree.map(
        partial(jnp.where, undone), (state.ensemble.weights, state.model_opt_state), result
    )
    return state.replace(ensemble=state.ensemble.replace(weights=weights), model_opt_state=opt_state), metrics


def standardized_policy(policy: ActionSampler, normalizer: Normalizer) -> ActionSampler:
    """A policy of z-scored observations on the task's own."""

    def act(obs: Array, key: Key) -> Array:
        return policy(normalizer.apply(obs), key)

    return act


def pretraining(problem: Problem, config: RAMBOConfig, steps: int) -> Mapping[str, Pretraining]:
    """The world model, and where it is asked for the cloned actor."""
    fits = branched.dynamics(problem, config, steps)
    if not config.pretrain_epochs:
        return fits
    clone = CloningConfig(
        hidden=config.hidden,
        batch_size=config.batch_size,
        epochs=config.pretrain_epochs,
        learning_rate=config.actor_lr,
        decay_steps=steps if config.actor_lr_decay else None,
    )
    return {**fits, "clone": cloning.pretraining(clone, sac.make(problem, config, steps))}


def init(rambo: RAMBO, key: Key, data: Data, pretrained: Pretrained) -> RAMBOState:
    """A branched actor-critic whose actor has cloned the data."""
    start = branched.init(rambo.config, rambo.agent, key, data, pretrained)
    actor = pretrained.get("clone", start.learner.actor)
    return branched.extend(
        RAMBOState,
        start.replace(learner=start.learner.replace(actor=actor)),
        model_opt_state=rambo.model_optimizer.init(start.ensemble.weights),
        normalizer=Normalizer.fit(data.transitions.obs),
    )


def refresh(rambo: RAMBO, state: RAMBOState, data: Data, key: Key) -> tuple[RAMBOState, Metrics]:
    """The model against the policy, then branches of the policy in the model, in the ring."""
    state, metrics = move_model(rambo, state, data, stream(key, "adversary"))
    model = standardized_model(state.ensemble, state.normalizer, rambo.agent.problem.terminates)
    policy = standardized_policy(branched.policy_of(rambo.agent, state), state.normalizer)
    state, rollout_metrics = branched.keep(state, branched.branch(rambo.config, model, policy, data, key))
    return state, metrics | rollout_metrics


def sample(rambo: RAMBO, state: RAMBOState, data: Data, key: Key) -> Transition:
    """A mixed batch of z-scored observations."""
    return fit.standardize(state.normalizer, branched.sample(rambo.config, state, data, key))


def act(rambo: RAMBO, state: RAMBOState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The actor's action at the z-scored observation."""
    return branched.act(rambo.agent, state, state.normalizer.apply(obs), key, deterministic)


def value(rambo: RAMBO, state: RAMBOState, obs: Array, action: Array) -> Array:
    """min_k Q_k(s, a) at the z-scored observation."""
    return branched.value(rambo.agent, state, state.normalizer.apply(obs), action)


def law(rambo: RAMBO, state: RAMBOState, obs: Array) -> tuple[Array, Array]:
    """The actor's Gaussian at the z-scored observation."""
    return branched.law(rambo.agent, state, state.normalizer.apply(obs))


def build(problem: Problem, config: RAMBOConfig, steps: int) -> Algorithm:
    """RAMBO's functions for a run of `steps` gradient steps."""
    rambo = RAMBO(config, sac.make(problem, config, steps), optax.adam(config.adversary_lr))
    return replace(
        branched.build(problem, config, steps),
        init=partial(init, rambo),
        sample=partial(sample, rambo),
        act=partial(act, rambo),
        refresh=partial(refresh, rambo),
        value=partial(value, rambo),
        law=partial(law, rambo),
    )


DEFINITION = Definition(
    name="rambo",
    title="Robust Adversarial Model-Based Offline RL",
    paper="Rigter et al., NeurIPS 2022, arXiv 2204.12581",
    equation="min_phi lambda E[A(s,a,s') log phi(s',r|s,a)] + L_MLE(phi; D), in turns with SAC on phi's rollouts",
    config=RAMBOConfig,
    build=build,
    policies=actor_at("learner", "actor", normalizer="normalizer"),
    pretraining=pretraining,
    deviations=(
        "The elite that an imagined row comes from is drawn anew at every step of the adversary; the official code "
        "draws the assignment once.",
        "Behavior cloning pulls logged actions 1e-5 inside the box; the official code skips every batch with an "
        "action on its border. Its rows are drawn with replacement.",
        "The adversary's term is a mean over the batch, which the official sum of a vector and a scalar amounts to.",
        "The z-score uses all rows; the official code 10,000 evenly spaced ones.",
        "Next observations are the true ones of the file; the official code trains its model on the next episode's "
        "reset state at every terminal.",
    ),
    across_tasks=True,
)
