"""ARMOR: adversarial model for offline reinforcement learning (Bhardwaj et al. 2023, arXiv 2302.11048).

ATAC's game with a third player on the critics' side: one Gaussian model M of the world that goes on learning. All
tuples are M's predictions D_M = {(s, a, R_M(s,a), s'_M)}, at logged pairs and at pairs that the policy and a reference
policy visit inside M. M and the critics make the policy look bad relative to the reference while they fit the data,

    min_{f,M}  L_{D_M}(f, pi, pi_ref) + beta ( E^w_{D_M}(f, M, pi) + lambda E_D(M) )         (4)
    max_pi     L_{D_M}(f_1, pi, pi_ref) = E_{D_M}[f_1(s, pi) - f_1(s, pi_ref)]               (5)
    E_D(M)   = mean_D [ -log P_M(s'|s,a) + (R_M(s,a) - r)^2 / V_max^2 ].
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field, model_validator

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, sample_rows, sample_starts
from offline_mbrl.algorithms.parts import adversarial, sac
from offline_mbrl.algorithms.parts.adversarial import AdversarialConfig, Game, GameState, Pessimism, restarted_adam
from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics.ensemble import Ensemble, EnsembleConfig, Gaussian, Layer, members, predict
from offline_mbrl.dynamics.fit import targets
from offline_mbrl.dynamics.ring import Ring
from offline_mbrl.errors import UserError
from offline_mbrl.keys import stream
from offline_mbrl.nn import weights as policies
from offline_mbrl.nn.networks import GaussianActor, Params, apply, tanh_gaussian
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

ONE_MODEL = EnsembleConfig(members=1, elites=1, max_epochs=100)


class ARMORConfig(AdversarialConfig):
    """What ARMOR adds to the game."""

    bellman_weight: float = Field(4.0, ge=0, description="beta, weight of the Bellman and model errors")
    model: Literal["adversarial", "fixed", "off"] = Field(
        "adversarial", description="M plays; M stays as fitted; or logged tuples and actions take its place (ATAC)"
    )
    model_weight: float = Field(1.0, ge=0, description="lambda, weight of the model's error on the data within beta")
    model_gradient_norm: float = Field(100.0, gt=0, description="global norm that M's gradient is clipped to")
    value_scale: float = Field(0.1, gt=0, description="V_max, the unit of M's reward error, in the data's own unit")
    reference: Literal["behavior", "file", "none"] = Field(
        "behavior", description="pi_ref: the cloned policy of the warm start, one from a file, or no comparison"
    )
    reference_file: Path | None = Field(None, description="weights of pi_ref, as `nn.weights.save` writes them")
    horizon: int = Field(5, ge=1, le=1000, description="H, steps between resets of the states inside M")
    capacity: int = Field(250_000, ge=1, description="pairs that D_model holds")
    dynamics: EnsembleConfig = Field(ONE_MODEL, description="M's network and its fit before the game; its best member")

    @model_validator(mode="after")
    def _reference_is_there(self) -> "ARMORConfig":
        if (self.reference == "file") != (self.reference_file is not None):
            raise UserError("reference 'file' and reference_file go together; set both or neither")
        if self.reference == "behavior" and self.warm_steps == 0:
            raise UserError(
                "the reference is the policy of the warm start, which has 0 steps; set warm_steps or reference"
            )
        return self


class Walk(struct.PyTreeNode):
    """States inside M that each walking policy has reached, block after block: S_pi, then S_ref."""

    obs: Array  # [P * B, d]
    alive: Array  # [P * B] bool


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


Sampler = Callable[[Params, Array, Key], Array]
"""(weights, obs [B, d], key) -> actions [B, m]."""


def predict_one(world: Ensemble, obs: Array, action: Array) -> Gaussian:
    """M's Gaussian of y = (r, s' - s): [B, d + 1]."""
    mean, std = predict(world, obs, action)
    return Gaussian(mean[0], std[0])


def transition_error(gaussian: Gaussian, rows: Transition) -> Array:
    """mean_b -log N(s'; s + mu, diag sigma^2), of Gaussians [B, d + 1] at `rows`."""
    z = (targets(rows) - gaussian.mean)[..., 1:] / gaussian.std[..., 1:]
    return (0.5 * jnp.square(z) + jnp.log(gaussian.std[..., 1:]) + 0.5 * math.log(2 * math.pi)).sum(axis=-1).mean()


def reward_error(gaussian: Gaussian, rows: Transition) -> Array:
    """mean_b (R_M - r)^2."""
    return jnp.square(gaussian.mean[..., 0] - rows.reward).mean()


def imagine(problem: Problem, gaussian: Gaussian, obs: Array, action: Array, noise: Array) -> Transition:
    """D_M at (s, a): r = R_M, the mean, and s' = s + mu + sigma * noise [B, d], both with M's gradient."""
    next_obs = obs + gaussian.mean[..., 1:] + gaussian.std[..., 1:] * noise
    return Transition(obs, action, gaussian.mean[..., 0], 1.0 - problem.terminates(next_obs), next_obs)


def advance(problem: Problem, world: Ensemble, walk: Walk, action: Array, noise: Array) -> tuple[Walk, Transition]:
    """One step inside M of every walking state, and the rows that it made; a state that ended stays dead."""
    rows = imagine(problem, predict_one(world, walk.obs, action), walk.obs, action, noise)
    goes_on = (rows.discount > 0) & jnp.isfinite(rows.next_obs).all(axis=-1)
    return Walk(rows.next_obs, walk.alive & goes_on), rows


def restart(walk: Walk, obs: Array, due: Array) -> Walk:
    """Where `due`, every policy walks again from the data states obs [B, d]."""
    fresh = jnp.tile(obs, (walk.alive.shape[0] // obs.shape[0], 1))
    return Walk(jnp.where(due, fresh, walk.obs), walk.alive | due)


def load_reference(config: ARMORConfig, problem: Problem) -> tuple[GaussianActor, Params]:
    """The actor in `reference_file` with its weights; `UserError` when it is not one for this task."""
    path = config.reference_file
    if path is None or not path.is_file():
        raise UserError(f"no reference policy at {path}; name a file of actor weights with reference_file")
    weights = policies.load(path).actor
    try:
        kernels = [layer["kernel"] for _, layer in sorted(weights["MLP_0"].items())]
        fits = kernels[0].shape[0] == problem.obs_dim and kernels[-1].shape[1] == 2 * problem.action_dim
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(f"{path} holds no tanh-Gaussian actor of this task; name another reference_file")
    hidden = tuple(kernel.shape[1] for kernel in kernels[:-1])
    return GaussianActor(hidden, problem.action_dim), jax.tree.map(jnp.asarray, weights)


def sampler(module: GaussianActor) -> Sampler:
    """a ~ pi(.|s) of a tanh-Gaussian module."""

    def draw(params: Params, obs: Array, key: Key) -> Array:
        action: Array = tanh_gaussian(*apply(module, params, obs)).sample(seed=key)
        return action

    return draw


def build(problem: Problem, config: ARMORConfig, steps: int) -> Algorithm:
    """ARMOR for a run of `steps` gradient steps, those of the warm start included."""
    game = adversarial.make(problem, config, steps)
    given = load_reference(config, problem) if config.reference == "file" else None
    policy = sampler(game.agent.actor)
    reference_policy = sampler(given[0]) if given else policy
    walkers = 1 if config.reference == "none" else 2
    rate = config.fast_lr if config.model == "adversarial" else 0.0
    world_optimizer = optax.chain(
        optax.clip_by_global_norm(config.model_gradient_norm), restarted_adam(0.0, rate, game.warm_steps)
    )

    def step_inside(state: ARMORState, world: World, key: Key) -> World:
        """Steps 7 and 8 of Algorithm 1: one step inside M for each policy; the pairs of living states are kept."""
        mine, *others = jnp.split(world.walk.obs, walkers)
        drawn = [policy(state.game.learner.actor.params, mine, stream(key, "walk"))]
        drawn += [reference_policy(state.reference, obs, stream(key, "walk_reference")) for obs in others]
        actions, noise = jnp.concatenate(drawn), jax.random.normal(stream(key, "walk_noise"), world.walk.obs.shape)
        walk, rows = advance(problem, world.model, world.walk, actions, noise)
        # The slots depend on the actions, and so on the batch that moved the actor: otherwise that batch might be read
        # after this write, for which XLA copies the whole ring at every step.
        kept = world.walk.alive & jnp.isfinite(actions).all(axis=-1)
        return world.replace(walk=walk, pairs=ring.push(world.pairs, rows, kept))

    def init_world(ensemble: Ensemble, data: Data, key: Key) -> World:
        model = ensemble.replace(weights=members(ensemble.weights, ensemble.elites[:1]), elites=jnp.zeros(1, jnp.int32))
        obs = sample_rows(data.transitions, stream(key, "walk_starts"), config.batch_size).obs
        return World(
            model=model,
            opt_state=world_optimizer.init(model.weights.layers),
            walk=Walk(jnp.tile(obs, (walkers, 1)), jnp.ones(walkers * config.batch_size, bool)),
            pairs=ring.empty(config.capacity, problem.obs_dim, problem.action_dim),
        )

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> ARMORState:
        absolute = config.reference == "none"
        starts = sample_starts(data, stream(key, "starts"), adversarial.STARTS) if absolute else None
        played = adversarial.init(game, key, starts)
        reference = {"behavior": played.learner.actor.params, "file": given[1] if given else None, "none": None}
        state = ARMORState(played, None, jax.tree.map(jnp.copy, reference[config.reference]))
        if config.model == "off":
            return state
        assert ensemble is not None, "ARMOR needs a fitted model"
        return state.replace(world=step_inside(state, init_world(ensemble, data, key), key))

    def sample(state: ARMORState, data: Data, key: Key) -> ARMORBatch:
        real = sample_rows(data.transitions, key, config.batch_size)
        if state.world is None:
            return ARMORBatch(real, None)
        return ARMORBatch(real, ring.sample(state.world.pairs, stream(key, "model"), config.batch_size))

    def tuples(
        model: Ensemble, layers: tuple[Layer, ...], obs: Array, action: Array, real: Transition, key: Key
    ) -> tuple[Transition, Array, Metrics]:
        """D_M at the pairs (s, a), the logged ones first, and E_D(M)."""
        gaussian = predict_one(model.replace(weights=model.weights._replace(layers=layers)), obs, action)
        logged = Gaussian(gaussian.mean[: config.batch_size], gaussian.std[: config.batch_size])
        metrics = {"model_nll": transition_error(logged, real), "reward_error": reward_error(logged, real)}
        error = metrics["model_nll"] + metrics["reward_error"] / config.value_scale**2
        rows = imagine(problem, gaussian, obs, action, jax.random.normal(stream(key, "noise"), obs.shape))
        return rows, error, metrics

    def pessimism(state: ARMORState, obs: Array, action: Array, logged: Array, key: Key) -> Pessimism:
        if config.reference == "none":
            return adversarial.absolute(game, state.game, key)
        if config.model == "off":
            return adversarial.against_reference(game, obs, action, logged)
        reference = reference_policy(state.reference, obs, stream(key, "reference"))
        return adversarial.against_reference(game, obs, action, reference)

    def update(state: ARMORState, batch: ARMORBatch, key: Key) -> tuple[ARMORState, Metrics]:
        played, actor, action_key = state.game, state.game.learner.actor.params, stream(key, "action")
        (real, model), world = batch, state.world
        obs, pair_action = real.obs, real.action
        if model is not None:
            obs, pair_action = jnp.concatenate([obs, model.obs]), jnp.concatenate([pair_action, model.action])
        action, log_prob = sac.sample_action(game.agent, actor, obs, action_key)
        measure = pessimism(state, obs, action, real.action, key)

        def loss(critic: Params, layers: tuple[Layer, ...]) -> tuple[Array, Metrics]:
            logged: tuple[Transition, Array, Metrics] = real, jnp.zeros(()), {}
            made = logged if world is None else tuples(world.model, layers, obs, pair_action, real, key)
            rows, error, model_metrics = made
            next_action, _ = sac.sample_action(game.agent, actor, rows.next_obs, stream(key, "next_action"))
            next_action, weighted = jax.lax.stop_gradient(next_action), config.model_weight * error
            total, metrics = adversarial.adversary_loss(game, critic, played, rows, next_action, measure, weighted)
            return total, metrics | model_metrics | {"model_reward": rows.reward.mean()}

        layers = world.model.weights.layers if world is not None else ()
        grads, metrics = jax.grad(loss, argnums=(0, 1), has_aux=True)(played.learner.critic.params, layers)
        played = adversarial.update_critic(game, played, grads[0])
        played, actor_metrics = adversarial.update_actor(game, played, obs, real.action, log_prob.mean(), action_key)
        moved = update_reference(game, config, state.replace(game=adversarial.finish_step(game, played)))
        if world is not None:
            walk = restart(world.walk, real.obs, moved.game.step % config.horizon == 0)
            world = update_model(world.replace(walk=walk), grads[1])
            moved = moved.replace(world=step_inside(moved, world, key))
        return moved, metrics | actor_metrics

    def update_model(world: World, grads: tuple[Layer, ...]) -> World:
        weights = world.model.weights
        updates, opt_state = world_optimizer.update(grads, world.opt_state, weights.layers)
        weights = weights._replace(layers=optax.apply_updates(weights.layers, updates))
        return world.replace(model=world.model.replace(weights=weights), opt_state=opt_state)

    def act(state: ARMORState, obs: Array, key: Key, deterministic: bool) -> Array:
        return sac.act(game.agent, state.game.learner.actor.params, obs, key, deterministic)

    return Algorithm(init, sample, update, act)


def update_reference(game: Game, config: ARMORConfig, state: ARMORState) -> ARMORState:
    """pi_ref <- pi up to the last step of the warm start, and never again."""
    if config.reference != "behavior":
        return state
    cloning, actor = state.game.step <= game.warm_steps, state.game.learner.actor.params
    follow: Callable[..., Any] = lambda new, old: jnp.where(cloning, new, old)  # noqa: E731
    return state.replace(reference=jax.tree.map(follow, actor, state.reference))


DEFINITION = Definition(
    name="armor",
    title="Adversarial Model for Offline Reinforcement Learning",
    paper="Bhardwaj et al., NeurIPS 2023, arXiv 2302.11048",
    equation="max_pi min_{f,M} L_{D_M}(f,pi,pi_ref) + beta (E^w_{D_M}(f,M,pi) + lambda E_D(M)),  "
    "L = E[f(s,pi) - f(s,pi_ref)]",
    config=ARMORConfig,
    build=build,
    ensemble=lambda config: None if config.model == "off" else config.dynamics,
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
)
