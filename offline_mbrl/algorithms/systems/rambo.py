"""RAMBO: robust adversarial model-based offline RL (Rigter et al. 2022, arXiv 2204.12581).

SAC on data and branched rollouts of a model that is trained against the policy in alternation,

    min_phi  lambda E_{s, a ~ pi, s' ~ phi}[ A(s, a, s') ]  +  L_MLE(phi; D),      A = r + gamma V(s') - Q(s, a),

by the score-function gradient of the first term. Policy, critics and model live in the space of z-scored observations.
"""

from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.stats import norm
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, sample_rows
from offline_mbrl.algorithms.parts import branched, sac
from offline_mbrl.algorithms.parts.branched import BranchedConfig, BranchedState
from offline_mbrl.algorithms.parts.sac import SAC, SACState
from offline_mbrl.dynamics import fit, ring
from offline_mbrl.dynamics.ensemble import (
    Ensemble,
    EnsembleConfig,
    Gaussian,
    Weights,
    draw,
    only_elites,
    predict,
    predict_random_elite,
)
from offline_mbrl.dynamics.rollout import Model, ModelStep, ensemble_model, flatten
from offline_mbrl.keys import indices, stream
from offline_mbrl.nn.networks import Params, action_log_prob
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

TINY = 1e-6
"""Added to the standard deviation of the advantages."""


class RAMBOEnsembleConfig(EnsembleConfig):
    """The ensemble of the official code, on z-scored observations."""

    learning_rate: float = Field(3e-4, gt=0, description="Adam rate, one optimizer for all members")
    logvar_init: tuple[float, float] = Field((-6.0, 1.0), description="initial bounds of the log-variance")
    logvar_penalty: float = Field(0.001, ge=0, description="weight of sum(max) - sum(min) of the bounds in the loss")
    holdout_ratio: float = Field(0.1, gt=0, lt=1, description="share of rows held out")
    patience: int = Field(11, ge=1, description="epochs without any member improving after which the fit stops")
    standardize: Literal[True] = Field(True, description="fit on z-scored observations; RAMBO has no other form")


class RAMBOConfig(BranchedConfig):
    """The adversarial phase and what the official configuration changes of its neighbours."""

    adversary_weight: float = Field(3e-4, ge=0, le=1, description="lambda; 0 leaves the model as it was fitted")
    adversary_steps: int = Field(1000, ge=1, description="model steps between two refreshes")
    adversary_lr: float = Field(3e-4, gt=0, description="Adam rate of the model under the adversary")
    pretrain_epochs: int = Field(50, ge=0, description="epochs of behavior cloning before the first step")
    actor_lr_decay: bool = Field(False, description="cosine decay of the actor's rate to 0 over the run")
    temperature_max: float | None = Field(None, gt=0, description="upper clamp of the learned alpha; none when absent")
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


def cloning_loss(agent: SAC, actor: Params, batch: Transition) -> Array:
    """-mean_b log pi(a_b|s_b), actions pulled inside the open box."""
    return -action_log_prob(*sac.policy_parameters(agent, actor, batch.obs), batch.action).mean()


def pretrain(
    config: RAMBOConfig, agent: SAC, actor: TrainState, normalizer: Normalizer, rows: Transition, key: Key
) -> TrainState:
    """Behavior cloning for `pretrain_epochs` epochs with the optimizer that SAC goes on with."""

    def step(actor: TrainState, key: Key) -> tuple[TrainState, None]:
        batch = fit.standardize(normalizer, sample_rows(rows, key, config.batch_size))
        grads = jax.grad(cloning_loss, argnums=1)(agent, actor.params, batch)
        return actor.step(grads, agent.actor_optimizer), None

    steps = config.pretrain_epochs * -(-rows.reward.shape[0] // config.batch_size)
    cloned, _ = jax.lax.scan(step, actor, jax.random.split(key, steps))
    return cloned


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
    likelihood = fit.loss(config.dynamics, weights, x, y)
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
    config: RAMBOConfig,
    agent: SAC,
    optimizer: optax.GradientTransformation,
    state: RAMBOState,
    rows: Transition,
    key: Key,
) -> tuple[tuple[Weights, optax.OptState], Metrics]:
    """`adversary_steps` steps of the model against the policy as it is: the model's new weights and optimizer state.

    The branches start at data states and go on from the sampled s', terminal or not, for `horizon` steps; then anew.
    """
    ensemble, size, count = state.ensemble, config.dynamics.batch_size, rows.reward.shape[0]

    def step(
        carry: tuple[Array, Weights, optax.OptState], now: tuple[Array, Key]
    ) -> tuple[tuple[Array, Weights, optax.OptState], Metrics]:
        (obs, weights, opt_state), (number, key) = carry, now
        starts = state.normalizer.apply(sample_rows(rows, stream(key, "starts"), config.batch_size).obs)
        obs = jnp.where(number % config.horizon == 0, starts, obs)
        current = ensemble.replace(weights=weights)
        score, gain, next_obs = imagine(agent, state.learner, current, state.normalizer, obs, key)
        index = indices(stream(key, "data"), config.dynamics.members * size, count).reshape(-1, size)
        batch = fit.standardize(state.normalizer, jax.tree.map(lambda leaf: leaf[index], rows))
        grads, metrics = jax.grad(adversary_loss, argnums=1, has_aux=True)(
            config, weights, ensemble, score, ensemble.inputs.apply(fit.inputs(batch)), fit.targets(batch)
        )
        updates, opt_state = optimizer.update(grads, opt_state, weights)
        return (next_obs, optax.apply_updates(weights, updates), opt_state), metrics | {"advantage": gain.mean()}

    numbers = jnp.arange(config.adversary_steps)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    obs = jnp.zeros((config.batch_size, agent.problem.obs_dim))
    carry = (obs, ensemble.weights, state.model_opt_state)
    (_, weights, opt_state), metrics = jax.lax.scan(step, carry, (numbers, keys))
    return (weights, opt_state), jax.tree.map(jnp.mean, metrics)


def standardized_model(ensemble: Ensemble, normalizer: Normalizer, problem: Problem) -> Model:
    """A model of z-scored observations as a simulator in the task's own units."""
    model = ensemble_model(ensemble, lambda z: problem.terminates(normalizer.invert(z)))

    def step(obs: Array, action: Array, key: Key) -> ModelStep:
        made = model(normalizer.apply(obs), action, key)
        return made._replace(next_obs=normalizer.invert(made.next_obs))

    return step


def build(problem: Problem, config: RAMBOConfig, steps: int) -> Algorithm:
    """RAMBO's functions for a run of `steps` gradient steps."""
    agent = sac.make(problem, config, steps)
    base = branched.build(problem, config, steps)
    optimizer = optax.adam(config.adversary_lr)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> RAMBOState:
        start: BranchedState = base.init(key, data, ensemble)
        normalizer, actor = Normalizer.fit(data.transitions.obs), start.learner.actor
        if config.pretrain_epochs:
            actor = pretrain(config, agent, actor, normalizer, data.transitions, stream(key, "pretrain"))
        return RAMBOState(
            learner=start.learner.replace(actor=actor),
            ensemble=start.ensemble,
            imagined=start.imagined,
            model_opt_state=optimizer.init(start.ensemble.weights),
            normalizer=normalizer,
        )

    def refresh(state: RAMBOState, data: Data, key: Key) -> tuple[RAMBOState, Metrics]:
        metrics: Metrics = {}
        if config.adversary_weight:
            phase_key = stream(key, "adversary")
            moved, metrics = adversary_phase(config, agent, optimizer, state, data.transitions, phase_key)
            # Before the first refresh there are no values yet to work against, and the phase is undone.
            undone = partial(jnp.where, state.imagined.size == 0)
            weights, opt_state = jax.tree.map(undone, (state.ensemble.weights, state.model_opt_state), moved)
            state = state.replace(ensemble=state.ensemble.replace(weights=weights), model_opt_state=opt_state)
        model = standardized_model(state.ensemble, state.normalizer, problem)
        policy = lambda obs, key: act(state, obs, key, deterministic=False)  # noqa: E731
        made = branched.branch(config, model, policy, data, key)
        state = state.replace(imagined=ring.push(state.imagined, *flatten(made)))
        return state, metrics | branched.rollout_metrics(made)

    def sample(state: RAMBOState, data: Data, key: Key) -> Transition:
        return fit.standardize(state.normalizer, base.sample(state, data, key))

    def act(state: RAMBOState, obs: Array, key: Key, deterministic: bool) -> Array:
        return base.act(state, state.normalizer.apply(obs), key, deterministic)

    return replace(base, init=init, sample=sample, act=act, refresh=refresh)


DEFINITION = Definition(
    name="rambo",
    title="Robust Adversarial Model-Based Offline RL",
    paper="Rigter et al., NeurIPS 2022, arXiv 2204.12581",
    equation="min_phi lambda E[A(s,a,s') log phi(s',r|s,a)] + L_MLE(phi; D), in turns with SAC on phi's rollouts",
    config=RAMBOConfig,
    build=build,
    ensemble=lambda config: config.dynamics,
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
)
