"""DROP: conservative model-based optimization for offline RL (Liu et al., NeurIPS 2023, arXiv 2306.14479).

The data are cut into N subsets by the return of their episodes. Training clones every subset with one contextual policy
beta(a|s, z_n) and learns how good each clone is, a score f(s, a, z_n), held down where z leaves the embeddings:

    max_{beta,z} E log beta(a|s, z_n)      min_f E (f(s,a,z_n) - r - gamma d fbar(s',a',z_n))^2   s.t.  R(f) <= eta
    R(f) = E_{z ~ mu} f(s, beta(s,z), z) - E f(s,a,z_n).

There is no policy improvement and no dynamics model; the policy is found at test time, by a search over z:

    z*(s) = argmax_z g(s, z),    g(s, z) = min_k f_k(s, beta(s,z), z).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import (
    Act,
    Algorithm,
    Definition,
    Pretrained,
    own_rows,
    sample_indices,
    sample_starts,
)
from offline_mbrl.algorithms.export import SavedState
from offline_mbrl.algorithms.parts.ascent import Score, ascend
from offline_mbrl.algorithms.parts.subsets import order_key, subset_of, subset_thresholds
from offline_mbrl.config import Config, Number, Width
from offline_mbrl.keys import stream
from offline_mbrl.nn.networks import (
    GaussianActor,
    Params,
    action_log_prob,
    apply,
    critic_ensemble,
    init_params,
    tanh_gaussian,
)
from offline_mbrl.nn.plain import PlainActor, dense_layers, with_context
from offline_mbrl.nn.train_state import TrainState, polyak
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

STARTS = 256
"""Start states of the data over which Best and Grad compare embeddings."""

Variant = Literal["best", "grad", "best-ada", "grad-ada"]


class DROPConfig(Config):
    """Hyper-parameters of DROP."""

    discount: Number = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: Number = Field(0.005, gt=0, le=1, description="Polyak step of the target scores")
    batch_size: int = Field(256, ge=1, description="rows of one gradient step")
    hidden: tuple[Width, ...] = Field((256, 256), description="widths of the policy's and scores' hidden layers")
    critics: int = Field(2, ge=1, description="score networks whose minimum is the score")
    learning_rate: Number = Field(3e-4, gt=0, description="Adam rate of policy, scores and embeddings")
    subsets: int = Field(100, ge=1, description="N, subsets of the episodes")
    grouping: Literal["return", "random"] = Field("return", description="episodes ranked by return, or at random")
    embedding_dim: int = Field(5, ge=1, description="dimension of z, which lies in [-1, 1]")
    multiplier: Number | None = Field(None, ge=0, description="fixed weight nu of R, 0 for none; learned when absent")
    multiplier_lr: Number = Field(1e-3, gt=0, description="step of the learned nu")
    slack: Number = Field(0.0, description="eta, the R that is allowed, in units of the largest |reward|")
    regularize_embedding: bool = Field(True, description="R moves the embeddings too, through f(s, a, z_n)")
    prior: Literal["ascent", "uniform"] = Field("ascent", description="mu: where the scores lead from z_n, or the box")
    ascent_steps: int = Field(5, ge=0, description="steps of mu's ascent")
    ascent_size: Number = Field(0.1, gt=0, description="length of one of them")
    variant: Variant = Field("grad-ada", description="the search that `act` makes; all four are scored")
    search_steps: int = Field(10, ge=0, description="J, steps of the search at test time")
    search_size: Number = Field(0.05, gt=0, description="rho, length of one of them")


class Networks(NamedTuple):
    """All that is trained by gradient."""

    actor: Params
    critic: Params
    table: Array  # [N, dz]; z_n = tanh of its row


class DROPState(struct.PyTreeNode):
    """Networks, the dual variable, how rows find their subset, and the embeddings that Best and Grad act with."""

    networks: TrainState
    target: Params
    multiplier: Array  # nu
    thresholds: Array  # [N] lowest key of each subset
    occupied: Array  # [N] bool, the subset has an episode
    salt: Array  # uint32, of the random grouping
    starts: Array  # [STARTS, d]
    reward_scale: Array  # max |r|: the scores are in this unit
    best: Array  # [dz] made by `deploy`
    grad: Array  # [dz] made by `deploy`


class DROPBatch(NamedTuple):
    """Rows, the actions logged after them, and where each belongs."""

    rows: Transition
    next_action: Array  # [B, m]
    known: Array  # [B] bool, the row is terminal or its next action is logged
    subset: Array  # [B] int32


@dataclass(frozen=True)
class DROP:
    """The static half: networks and their optimizer."""

    config: DROPConfig
    actor: GaussianActor
    critic: nn.Module
    optimizer: optax.GradientTransformation
    problem: Problem


def make(problem: Problem, config: DROPConfig) -> DROP:
    """Networks and optimizer; the rate is constant, whatever the length of the run."""
    return DROP(
        config=config,
        actor=GaussianActor(config.hidden, problem.action_dim),
        critic=critic_ensemble(config.critics, config.hidden),
        optimizer=optax.adam(config.learning_rate),
        problem=problem,
    )


def td_error(q: Array, target: Array, known: Array) -> Array:
    """mean_k mean over known rows of (f_k(s,a,z_n) - y)^2, for q [K, B], y [B]."""
    chex.assert_shape((target, known), q.shape[1:])
    return (jnp.square(q - target) * known).sum() / (q.shape[0] * jnp.maximum(known.sum(), 1))


def raise_multiplier(multiplier: Array, excess: Array, rate: float) -> Array:
    """nu <- max(0, nu + lr (R - eta))."""
    return jnp.maximum(0.0, multiplier + rate * excess)


def law(drop: DROP, actor: Params, obs: Array, z: Array) -> tuple[Array, Array]:
    """Mean and log standard deviation of beta(.|s, z) before the squash: [..., m] each."""
    mean, log_std = apply(drop.actor, actor, jnp.concatenate([obs, z], axis=-1))
    return mean, log_std


def imitate(drop: DROP, actor: Params, obs: Array, z: Array) -> Array:
    """beta(s, z), the mean action."""
    return jnp.tanh(law(drop, actor, obs, z)[0])


def scores(drop: DROP, critic: Params, obs: Array, action: Array, z: Array) -> Array:
    """f_k(s, a, z): [K, ...]."""
    return apply(drop.critic, critic, jnp.concatenate([obs, z], axis=-1), action)


def score(drop: DROP, networks: Networks, obs: Array, z: Array) -> Array:
    """g(s, z) for one z [dz] and observations [..., d], with the whole derivative in z."""
    z = jnp.broadcast_to(z, (*obs.shape[:-1], z.shape[-1]))
    return scores(drop, networks.critic, obs, imitate(drop, networks.actor, obs, z), z).min(axis=0)


def mean_score(drop: DROP, networks: Networks, obs: Array, z: Array) -> Array:
    """g(s, z) averaged over observations [B, d], for one z [dz]."""
    return score(drop, networks, obs, z).mean()


def init_networks(drop: DROP, key: Key) -> Networks:
    """Fresh networks, and a table of embeddings near the middle of the box."""
    config, problem = drop.config, drop.problem
    width, shape = problem.obs_dim + config.embedding_dim, (config.subsets, config.embedding_dim)
    return Networks(
        actor=init_params(drop.actor, stream(key, "actor"), width),
        critic=init_params(drop.critic, stream(key, "critic"), width, problem.action_dim),
        table=0.5 * jax.random.normal(stream(key, "table"), shape),
    )


def row_keys(config: DROPConfig, episode_return: Array, salt: Array) -> Array:
    """What the episodes of rows are ranked by, as `grouping` says."""
    return order_key(episode_return, salt if config.grouping == "random" else None)


def init(drop: DROP, key: Key, data: Data, pretrained: Pretrained) -> DROPState:
    """Fresh networks, the data cut into subsets, and the embeddings that Best and Grad would act with now."""
    config, networks, salt = drop.config, init_networks(drop, key), jax.random.bits(stream(key, "salt"))
    keys = row_keys(config, data.episode_return, salt)
    thresholds = subset_thresholds(keys, data.is_first, config.subsets)
    episodes = jnp.zeros(config.subsets, jnp.int32).at[subset_of(keys, thresholds)].add(data.is_first)
    state = DROPState(
        networks=TrainState.create(networks, drop.optimizer),
        target=jax.tree.map(jnp.copy, networks.critic),
        multiplier=jnp.asarray(1.0 if config.multiplier is None else config.multiplier, jnp.float32),
        thresholds=thresholds,
        occupied=episodes > 0,
        salt=salt,
        starts=sample_starts(data, stream(key, "starts"), STARTS),
        reward_scale=jnp.maximum(jnp.abs(data.transitions.reward).max(), 1e-8),
        best=networks.table[0],
        grad=networks.table[0],
    )
    return deploy(drop, state)


def sample(drop: DROP, state: DROPState, data: Data, key: Key) -> DROPBatch:
    """Rows with scaled rewards, the actions after them, and their subsets."""
    rows, index = data.transitions, sample_indices(data, key, drop.config.batch_size)
    batch, (first, count) = jax.tree.map(lambda leaf: leaf[index], rows), own_rows(data)
    return DROPBatch(
        rows=batch._replace(reward=batch.reward / state.reward_scale),
        next_action=rows.action[jnp.minimum(index + 1, first + count - 1)],
        known=data.has_next[index] | (batch.discount == 0),
        subset=subset_of(row_keys(drop.config, data.episode_return[index], state.salt), state.thresholds),
    )


def adversaries(drop: DROP, networks: Networks, obs: Array, z: Array, key: Key) -> Array:
    """z ~ mu, for each row of embeddings [B, dz], without a gradient."""
    config = drop.config
    if config.prior == "uniform":
        return jax.random.uniform(key, z.shape, minval=-1.0, maxval=1.0)

    def climb(obs: Array, start: Array) -> Array:
        return ascend(partial(score, drop, networks, obs), start, config.ascent_steps, config.ascent_size)

    return jax.lax.stop_gradient(jax.vmap(climb)(obs, z))


def cloning_loss(drop: DROP, actor: Params, rows: Transition, z: Array) -> Array:
    """L_bc = -mean_b log beta(a_b|s_b, z_b), for z [B, dz]."""
    return -action_log_prob(*law(drop, actor, rows.obs, z), rows.action).mean()


def bellman_target(drop: DROP, state: DROPState, batch: DROPBatch, z: Array) -> Array:
    """y = r + gamma d min_k fbar_k(s', a', z_n), a' the logged next action: [B]."""
    rows = batch.rows
    value = scores(drop, state.target, rows.next_obs, batch.next_action, z).min(axis=0)
    return rows.reward + drop.config.discount * rows.discount * value


def outside_score(drop: DROP, critic: Params, frozen: Networks, obs: Array, z: Array, key: Key) -> Array:
    """E_{z ~ mu} f(s, beta(s,z), z), mean over rows and critics; the gradient reaches `critic` alone.

    Args:
      drop: the static half.
      critic: weights of f.
      frozen: the networks that mu and beta are taken from.
      obs: [B, d].
      z: [B, dz] each row's own embedding.
      key: of mu.
    """
    adversary = adversaries(drop, frozen, obs, z, key)
    return scores(drop, critic, obs, imitate(drop, frozen.actor, obs, adversary), adversary).mean()


def loss(drop: DROP, networks: Networks, state: DROPState, batch: DROPBatch, key: Key) -> tuple[Array, Metrics]:
    """L_bc + L_td + nu (R - eta); beta gets L_bc alone, the embeddings L_bc and R, the scores L_td and R."""
    rows, z = batch.rows, jnp.tanh(networks.table)[batch.subset]
    frozen, fixed = jax.lax.stop_gradient((networks, z))
    cloning = cloning_loss(drop, networks.actor, rows, z)
    q = scores(drop, networks.critic, rows.obs, rows.action, fixed)
    target = bellman_target(drop, state, batch, fixed)
    regression = td_error(q, target, batch.known)
    outside, inside = outside_score(drop, networks.critic, frozen, rows.obs, fixed, key), q.mean()
    if drop.config.regularize_embedding:
        inside = scores(drop, networks.critic, rows.obs, rows.action, z).mean()
    excess = outside - inside - drop.config.slack
    metrics = {"actor_loss": cloning, "critic_loss": regression, "conservative": outside - inside}
    metrics |= {"q": q.mean(), "target": target.mean()}
    return cloning + regression + state.multiplier * excess, metrics


def update_networks(drop: DROP, state: DROPState, batch: DROPBatch, key: Key) -> tuple[DROPState, Metrics]:
    """One step of policy, scores and embeddings, then the Polyak average of the target scores."""
    grads, metrics = jax.grad(loss, argnums=1, has_aux=True)(drop, state.networks.params, state, batch, key)
    networks = state.networks.step(grads, drop.optimizer)
    target = polyak(state.target, networks.params.critic, drop.config.tau)
    return state.replace(networks=networks, target=target), metrics


def update_multiplier(drop: DROP, state: DROPState, gap: Array) -> DROPState:
    """One step of nu on R, the gap; none where nu is fixed."""
    config = drop.config
    if config.multiplier is not None:
        return state
    return state.replace(multiplier=raise_multiplier(state.multiplier, gap - config.slack, config.multiplier_lr))


def update(drop: DROP, state: DROPState, batch: DROPBatch, key: Key) -> tuple[DROPState, Metrics]:
    """The networks, then nu."""
    state, metrics = update_networks(drop, state, batch, key)
    state = update_multiplier(drop, state, metrics["conservative"])
    return state, metrics | {"multiplier": state.multiplier}


def choose(drop: DROP, variant: Variant, state: DROPState, value: Score, at_once: int) -> Array:
    """The z_n of the occupied subset with the highest value, or where the search leads from it.

    Args:
      drop: the static half.
      variant: Best, or Grad for the search.
      state: the table, and which subsets have an episode.
      value: what is maximized.
      at_once: how many embeddings are valued at a time.
    """
    table = jnp.tanh(state.networks.params.table)
    values = jnp.where(state.occupied, jax.lax.map(value, table, batch_size=at_once), -jnp.inf)
    best = table[values.argmax()]
    if variant.startswith("best"):
        return best
    return ascend(value, best, drop.config.search_steps, drop.config.search_size)


def deploy(drop: DROP, state: DROPState) -> DROPState:
    """The z of Best and Grad: by the mean score over start states, for all episodes of an evaluation."""
    value = partial(mean_score, drop, state.networks.params, state.starts)
    best, grad = choose(drop, "best", state, value, 8), choose(drop, "grad", state, value, 8)
    return state.replace(best=best, grad=grad)


def embedding(drop: DROP, variant: Variant, state: DROPState, obs: Array) -> Array:
    """z*(s) of one observation [d]: what `deploy` found, or the search at s itself."""
    if variant in ("best", "grad"):
        return state.best if variant == "best" else state.grad
    value = partial(score, drop, state.networks.params, obs)
    return choose(drop, variant, state, value, drop.config.subsets)


def chosen_law(drop: DROP, variant: Variant, state: DROPState, obs: Array) -> tuple[Array, Array]:
    """The Gaussian of beta(.|s, z*(s)), where z* is a constant."""
    z = jax.lax.stop_gradient(embedding(drop, variant, state, obs))
    return law(drop, state.networks.params.actor, obs, z)


def act(drop: DROP, variant: Variant, state: DROPState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The mean or a sample of beta(.|s, z*(s))."""
    z = embedding(drop, variant, state, obs)
    mean, log_std = law(drop, state.networks.params.actor, obs, z)
    return jnp.tanh(mean) if deterministic else tanh_gaussian(mean, log_std).sample(seed=key)


def build(problem: Problem, config: DROPConfig, steps: int) -> Algorithm:
    """DROP's functions; the number of steps changes nothing."""
    drop = make(problem, config)
    variants: dict[str, Act] = {variant: partial(act, drop, variant) for variant in get_args(Variant)}
    return Algorithm(
        init=partial(init, drop),
        sample=partial(sample, drop),
        update=partial(update, drop),
        act=variants[config.variant],
        deploy=partial(deploy, drop),
        variants=variants,
        law=partial(chosen_law, drop, config.variant),
        samples_ahead=True,
    )


def policies(problem: Problem, config: DROPConfig, state: SavedState) -> Mapping[str, PlainActor]:
    """beta(.|s, z) for the z of Best and Grad; the searches at every observation are no plain networks."""
    state = jax.tree.map(jnp.asarray, state)  # the search takes gradients, which NumPy's arrays have none of
    networks, drop = Networks(**state["networks"]["params"]), make(problem, config)
    deployed = deploy(drop, DROPState(**{**state, "networks": TrainState(networks, None)}))
    layers = dense_layers(networks.actor["MLP_0"])
    return {name: PlainActor(with_context(layers, getattr(deployed, name)), "squashed") for name in ("best", "grad")}


DEFINITION = Definition(
    name="drop",
    title="Design from Policies: Conservative Test-Time Adaptation",
    paper="Liu et al., NeurIPS 2023, arXiv 2306.14479; as DROP at OpenReview, 2022",
    equation="train: beta(a|s,z_n), f(s,a,z_n) with E_mu f(s,beta(s,z),z) - E f(s,a,z_n) <= eta;  "
    "act: beta(s,z*), z* = argmax_z f(s,beta(s,z),z)",
    config=DROPConfig,
    build=build,
    policies=policies,
    deviations=(
        "There is no public code and the paper gives few constants: every number in the presets is our choice.",
        "Best and Grad choose z once for an evaluation, by the mean score over start states of the data, not at each "
        "episode's own start.",
        "Embeddings are a table bounded by tanh; the paper's Gaussian posterior over z and its KL term are left out.",
        "Rewards are divided by the largest |reward|, so that eta and nu mean the same on every task.",
        "The last row of an episode that timed out has no next action: it is cloned but left out of the score's loss.",
        "The search steps have unit direction, and the best iterate is kept, so Grad never scores below Best.",
        "Episodes with equal returns fall into one subset.",
    ),
    across_tasks=True,
)
