"""ARMOR: adversarial model for offline reinforcement learning (Bhardwaj et al. 2023, arXiv 2302.11048).

ATAC's game with a third player on the critics' side: one Gaussian model M of the world that goes on learning. All
tuples are M's predictions D_M = {(s, a, R_M(s,a), s'_M)}, at logged pairs and at pairs that the policy and a reference
policy visit inside M. M and the critics make the policy look bad relative to the reference while they fit the data,

    min_{f,M}  L_{D_M}(f, pi, pi_ref) + beta ( E^w_{D_M}(f, M, pi) + lambda E_D(M) )         (4)
    max_pi     L_{D_M}(f_1, pi, pi_ref) = E_{D_M}[f_1(s, pi) - f_1(s, pi_ref)]               (5)
    E_D(M)   = mean_D [ -log P_M(s'|s,a) + (R_M(s,a) - r)^2 / V_max^2 ].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field, model_validator

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_rows, sample_starts
from offline_mbrl.algorithms.export import actor_at
from offline_mbrl.algorithms.parts import adversarial, branched, sac
from offline_mbrl.algorithms.parts.adversarial import AdversarialConfig, Game, GameState, Pessimism
from offline_mbrl.algorithms.parts.reference import SHIPPED, load_reference
from offline_mbrl.algorithms.parts.walk import (
    Walk,
    advance,
    imagine,
    predict_one,
    restart,
    reward_error,
    transition_error,
)
from offline_mbrl.config import Number
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.networks import GaussianActor, Params, apply, tanh_gaussian
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

ONE_MODEL = GaussianConfig(members=1, elites=1, max_epochs=100)


class ARMORConfig(AdversarialConfig):
    """What ARMOR adds to the game."""

    bellman_weight: Number = Field(4.0, ge=0, description="beta, weight of the Bellman and model errors")
    model: Literal["adversarial", "fixed", "off"] = Field(
        "adversarial", description="M plays; M stays as fitted; or logged tuples and actions take its place (ATAC)"
    )
    model_weight: Number = Field(1.0, ge=0, description="lambda, weight of the model's error on the data within beta")
    model_gradient_norm: Number = Field(100.0, gt=0, description="global norm that M's gradient is clipped to")
    value_scale: Number = Field(0.1, gt=0, description="V_max, the unit of M's reward error, in the data's own unit")
    reference: Literal["behavior", "file", "random", "medium", "expert", "none"] = Field(
        "behavior",
        description="pi_ref: the cloned policy of the warm start, one from a file, a policy of the package for the "
        "robot (the first and last of its training run up to medium, or its expert), or no comparison",
    )
    reference_file: Path | None = Field(None, description="weights of pi_ref, as `nn.weights.save` writes them")
    horizon: int = Field(5, ge=1, le=1000, description="H, steps between resets of the states inside M")
    capacity: int = Field(250_000, ge=1, description="pairs that D_model holds")
    dynamics: GaussianConfig = Field(ONE_MODEL, description="M's network and its fit before the game; its best member")

    @property
    def walkers(self) -> int:
        """Policies that walk inside M: pi, and pi_ref where there is one."""
        return 1 if self.reference == "none" else 2

    @model_validator(mode="after")
    def _reference_is_there(self) -> "ARMORConfig":
        if (self.reference == "file") != (self.reference_file is not None):
            raise UserError("reference 'file' and reference_file go together; set both or neither")
        if self.reference == "behavior" and self.warm_steps == 0:
            raise UserError(
                "the reference is the policy of the warm start, which has 0 steps; set warm_steps or reference"
            )
        return self


class World(struct.PyTreeNode):
    """M and what has been seen inside it."""

    model: Ensemble  # one member
    opt_state: optax.OptState
    walk: Walk
    pairs: Ring  # D_model: of its rows only (s, a) is read


class ARMORState(struct.PyTreeNode):
    """The players; there is no world where the model is off."""

    game: GameState
    world: World | None
    reference: Params | None


class ARMORBatch(NamedTuple):
    """The minibatches of one step."""

    real: Transition  # B_r, [B]
    model: Transition | None  # B_m, [B], of which only (s, a) is read


@dataclass(frozen=True)
class ARMOR:
    """The static half: the game, the network of pi_ref, its weights where a file gives them, and M's optimizer."""

    config: ARMORConfig
    game: Game
    reference: GaussianActor
    reference_weights: Params | None
    world_optimizer: optax.GradientTransformation
    problem: Problem


def make(problem: Problem, config: ARMORConfig, steps: int) -> ARMOR:
    """ARMOR for a run of `steps` gradient steps, those of the warm start included."""
    game = adversarial.make(problem, config, steps)
    reference, weights = game.agent.actor, None
    if config.reference in ("file", *SHIPPED):
        reference, weights = load_reference(config.reference, config.reference_file, problem)
    return ARMOR(config, game, reference, weights, world_optimizer(config, game.warm_steps), problem)


def world_optimizer(config: ARMORConfig, warm_steps: int) -> optax.GradientTransformation:
    """M's: no step in the warm start, Adam at the fast rate after it, or none ever where M is fixed."""
    rate = config.fast_lr if config.model == "adversarial" else 0.0
    return optax.chain(
        optax.clip_by_global_norm(config.model_gradient_norm), adversarial.restarted_adam(0.0, rate, warm_steps)
    )


def draw_action(actor: GaussianActor, params: Params, obs: Array, key: Key) -> Array:
    """a ~ pi(.|s) of a tanh-Gaussian network at obs [B, d]: [B, m]."""
    action: Array = tanh_gaussian(*apply(actor, params, obs)).sample(seed=key)
    return action


def step_inside(armor: ARMOR, state: ARMORState, world: World, key: Key) -> World:
    """Steps 7 and 8 of Algorithm 1: one step inside M for each policy; the pairs of living states are kept."""
    mine, *others = jnp.split(world.walk.obs, armor.config.walkers)
    actor = state.game.learner.actor.params
    draws = [draw_action(armor.game.agent.actor, actor, mine, stream(key, "walk"))]
    draws += [draw_action(armor.reference, state.reference, obs, stream(key, "walk_reference")) for obs in others]
    actions, noise = jnp.concatenate(draws), jax.random.normal(stream(key, "walk_noise"), world.walk.obs.shape)
    walk, rows = advance(armor.problem, world.model, world.walk, actions, noise)
    # The slots depend on the actions, and so on the batch that moved the actor: otherwise that batch might be read
    # after this write, for which XLA copies the whole ring at every step.
    living = world.walk.alive & jnp.isfinite(actions).all(axis=-1)
    return world.replace(walk=walk, pairs=ring.push(world.pairs, rows, living))


def init_world(armor: ARMOR, ensemble: Ensemble, data: Data, key: Key) -> World:
    """M as fitted, every policy at the same data states, and no pairs."""
    config, problem = armor.config, armor.problem
    model = ensemble.replace(weights=ensemble.weights.members(ensemble.elites[:1]), elites=jnp.zeros(1, jnp.int32))
    obs = sample_rows(data, stream(key, "walk_starts"), config.batch_size).obs
    return World(
        model=model,
        opt_state=armor.world_optimizer.init(model.weights.layers),
        walk=Walk(jnp.tile(obs, (config.walkers, 1)), jnp.ones(config.walkers * config.batch_size, bool)),
        pairs=ring.empty(config.capacity, problem.obs_dim, problem.action_dim),
    )


def init(armor: ARMOR, key: Key, data: Data, pretrained: Pretrained) -> ARMORState:
    """Fresh players, the reference as it begins, and a world that one step of each policy was taken in."""
    config = armor.config
    starts = sample_starts(data, stream(key, "starts"), adversarial.STARTS) if config.reference == "none" else None
    players = adversarial.init(armor.game, key, starts)
    own = players.learner.actor.params if config.reference == "behavior" else None
    reference = own if armor.reference_weights is None else armor.reference_weights
    state = ARMORState(players, None, jax.tree.map(jnp.copy, reference))
    if config.model == "off":
        return state
    return state.replace(
        world=step_inside(armor, state, init_world(armor, pretrained["dynamics"].ensemble, data, key), key)
    )


def sample(armor: ARMOR, state: ARMORState, data: Data, key: Key) -> ARMORBatch:
    """B_r from the data, B_m from D_model."""
    count = armor.config.batch_size
    real = sample_rows(data, key, count)
    if state.world is None:
        return ARMORBatch(real, None)
    return ARMORBatch(real, ring.sample(state.world.pairs, stream(key, "model"), count))


def pairs(batch: ARMORBatch) -> tuple[Array, Array]:
    """X = B_r U B_m, the logged pairs (s, a) first: [2 B, d] and [2 B, m]; the logged ones alone without a model."""
    real, model = batch
    if model is None:
        return real.obs, real.action
    return jnp.concatenate([real.obs, model.obs]), jnp.concatenate([real.action, model.action])


def model_error(armor: ARMOR, gaussian: Gaussian, real: Transition) -> tuple[Array, Metrics]:
    """E_D(M) of Gaussians [B, d + 1] at the logged rows."""
    metrics = {"model_nll": transition_error(gaussian, real), "reward_error": reward_error(gaussian, real)}
    return metrics["model_nll"] + metrics["reward_error"] / armor.config.value_scale**2, metrics


def tuples(
    armor: ARMOR, state: ARMORState, layers: tuple[Layer, ...], batch: ARMORBatch, key: Key
) -> tuple[Transition, Array, Metrics]:
    """D_M at the pairs X and E_D(M), for M with the weights `layers`; the logged rows and 0 without a model."""
    if state.world is None:
        return batch.real, jnp.zeros(()), {}
    obs, action = pairs(batch)
    model, count = state.world.model, batch.real.reward.shape[0]
    gaussian = predict_one(model.replace(weights=model.weights.with_layers(layers)), obs, action)
    error, metrics = model_error(armor, Gaussian(gaussian.mean[:count], gaussian.std[:count]), batch.real)
    noise = jax.random.normal(stream(key, "noise"), obs.shape)
    return imagine(armor.problem, gaussian, obs, action, noise), error, metrics


def pessimism(armor: ARMOR, state: ARMORState, batch: ARMORBatch, action: Array, key: Key) -> Pessimism:
    """L of the policy's actions [2 B, m] at X, relative to those of the reference there."""
    if armor.config.reference == "none":
        return adversarial.absolute(armor.game, state.game, key)
    obs, _ = pairs(batch)
    if armor.config.model == "off":
        return adversarial.against_reference(armor.game, obs, action, batch.real.action)
    reference = draw_action(armor.reference, state.reference, obs, stream(key, "reference"))
    return adversarial.against_reference(armor.game, obs, action, reference)


def adversary_loss(
    armor: ARMOR,
    critic: Params,
    layers: tuple[Layer, ...],
    state: ARMORState,
    batch: ARMORBatch,
    pessimism: Pessimism,
    key: Key,
) -> tuple[Array, Metrics]:
    """l_adv summed over the critics, (4): the game's loss on M's tuples with lambda E_D(M) beside the Bellman error.

    The gradient flows into the critics and into M's `layers`.
    """
    agent, actor = armor.game.agent, state.game.learner.actor.params
    rows, error, model_metrics = tuples(armor, state, layers, batch, key)
    next_action, _ = sac.sample_action(agent, actor, rows.next_obs, stream(key, "next_action"))
    next_action, weighted = jax.lax.stop_gradient(next_action), armor.config.model_weight * error
    loss, metrics = adversarial.adversary_loss(armor.game, critic, state.game, rows, next_action, pessimism, weighted)
    return loss, metrics | model_metrics | {"model_reward": rows.reward.mean()}


def update_adversary(
    armor: ARMOR, state: ARMORState, batch: ARMORBatch, action: Array, key: Key
) -> tuple[ARMORState, Metrics]:
    """Step 5: one simultaneous step of the critics and of M against the policy's actions [2 B, m] at X."""
    critic, world = state.game.learner.critic.params, state.world
    layers = () if world is None else world.model.weights.layers
    grads, metrics = jax.grad(adversary_loss, argnums=(1, 2), has_aux=True)(
        armor, critic, layers, state, batch, pessimism(armor, state, batch, action, key), key
    )
    world = None if world is None else update_model(armor, world, grads[1])
    return state.replace(game=adversarial.update_critic(armor.game, state.game, grads[0]), world=world), metrics


def update_model(armor: ARMOR, world: World, grads: tuple[Layer, ...]) -> World:
    """One step of M's layers; the bounds of its log-variance keep their fitted values."""
    weights = world.model.weights
    updates, opt_state = armor.world_optimizer.update(grads, world.opt_state, weights.layers)
    weights = weights.with_layers(optax.apply_updates(weights.layers, updates))
    return world.replace(model=world.model.replace(weights=weights), opt_state=opt_state)


def update_reference(armor: ARMOR, state: ARMORState) -> ARMORState:
    """pi_ref <- pi up to the last step of the warm start, and never again."""
    if armor.config.reference != "behavior":
        return state
    cloning, actor = state.game.step <= armor.game.warm_steps, state.game.learner.actor.params
    return state.replace(reference=jax.tree.map(partial(jnp.where, cloning), actor, state.reference))


def update_walk(armor: ARMOR, state: ARMORState, obs: Array, key: Key) -> ARMORState:
    """Steps 7 and 8 where there is a world: all walk on, at every H-th step from the logged states obs [B, d] again."""
    if state.world is None:
        return state
    walk = restart(state.world.walk, obs, state.game.step % armor.config.horizon == 0)
    return state.replace(world=step_inside(armor, state, state.world.replace(walk=walk), key))


def update(armor: ARMOR, state: ARMORState, batch: ARMORBatch, key: Key) -> tuple[ARMORState, Metrics]:
    """Critics and M, temperature and actor, targets; then the reference, and one step of every walk."""
    (obs, _), game, action_key = pairs(batch), armor.game, stream(key, "action")
    action, log_prob = sac.sample_action(game.agent, state.game.learner.actor.params, obs, action_key)
    state, metrics = update_adversary(armor, state, batch, action, key)
    players, actor_metrics = adversarial.update_actor(
        game, state.game, obs, batch.real.action, log_prob.mean(), action_key
    )
    state = update_reference(armor, state.replace(game=adversarial.finish_step(game, players)))
    return update_walk(armor, state, batch.real.obs, key), metrics | actor_metrics


def act(armor: ARMOR, state: ARMORState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The actor's action."""
    return sac.act(armor.game.agent, state.game.learner.actor.params, obs, key, deterministic)


def value(armor: ARMOR, state: ARMORState, obs: Array, action: Array) -> Array:
    """min_k Q_k(s, a)."""
    return sac.q_values(armor.game.agent, state.game.learner.critic.params, obs, action).min(axis=0)


def law(armor: ARMOR, state: ARMORState, obs: Array) -> tuple[Array, Array]:
    """The actor's Gaussian."""
    return sac.policy_parameters(armor.game.agent, state.game.learner.actor.params, obs)


def conclude(state: ARMORState) -> ARMORState:
    """The state without D_model, which only training reads: most of its bytes."""
    if state.world is None:
        return state
    return state.replace(world=state.world.replace(pairs=ring.emptied(state.world.pairs)))


def build(problem: Problem, config: ARMORConfig, steps: int) -> Algorithm:
    """ARMOR for a run of `steps` gradient steps, those of the warm start included."""
    armor = make(problem, config, steps)
    return Algorithm(
        partial(init, armor),
        partial(sample, armor),
        partial(update, armor),
        partial(act, armor),
        conclude=conclude,
        value=partial(value, armor),
        law=partial(law, armor),
    )


def pretraining(problem: Problem, config: ARMORConfig, steps: int) -> Mapping[str, Pretraining]:
    """M, unless the model is off."""
    return {} if config.model == "off" else branched.dynamics(problem, config, steps)


DEFINITION = Definition(
    name="armor",
    title="Adversarial Model for Offline Reinforcement Learning",
    paper="Bhardwaj et al., NeurIPS 2023, arXiv 2302.11048",
    equation="max_pi min_{f,M} L_{D_M}(f,pi,pi_ref) + beta (E^w_{D_M}(f,M,pi) + lambda E_D(M)),  "
    "L = E[f(s,pi) - f(s,pi_ref)]",
    config=ARMORConfig,
    build=build,
    policies=actor_at("game", "learner", "actor"),
    pretraining=pretraining,
    deviations=(
        "There is no public code; what Algorithm 1 leaves open follows ATAC's code (rates, networks, projection, "
        "entropy floor, warm start) or is our choice and marked so in the presets.",
        "The model's error is taken on the logged minibatch; the listing prints the model minibatch, whose pairs carry "
        "no labels.",
        "M, f_1 and f_2 take one simultaneous step; its gradient counts lambda E_D(M) twice, once for each critic, as "
        "the listing does.",
        "V_max is 0.1 in the data's own unit of reward. The theory's max |r| / (1 - gamma) would leave the reward free "
        "to follow the critics, since their Bellman error in the same loss is in that unit.",
        "The bounds of M's log-variance keep their fitted values in the game, and its gradient is clipped to norm 100.",
        "Predicted rows end by the task's known termination rule; the paper does not say.",
        "The critics warm up on M's tuples, with M as fitted.",
    ),
    across_tasks=True,
)
