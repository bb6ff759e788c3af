"""DROP: conservative model-based optimization for offline RL (Liu et al., NeurIPS 2023, arXiv 2306.14479).

The data are cut into N subsets by the return of their episodes. Training clones every subset with one contextual policy
beta(a|s, z_n) and learns how good each clone is, a score f(s, a, z_n), held down where z leaves the embeddings:

    max_{beta,z} E log beta(a|s, z_n)      min_f E (f(s,a,z_n) - r - gamma d fbar(s',a',z_n))^2   s.t.  R(f) <= eta
    R(f) = E_{z ~ mu} f(s, beta(s,z), z) - E f(s,a,z_n).

There is no policy improvement and no dynamics model; the policy is found at test time, by a search over z:

    z*(s) = argmax_z g(s, z),    g(s, z) = min_k f_k(s, beta(s,z), z).
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Act, Algorithm, Definition, sample_starts
from offline_mbrl.config import Config
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.keys import indices, stream
from offline_mbrl.nn.networks import (
    GaussianActor,
    Params,
    action_log_prob,
    apply,
    critic_ensemble,
    init_params,
    tanh_gaussian,
)
from offline_mbrl.nn.train_state import TrainState, polyak
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

STARTS = 256
"""Start states of the data over which Best and Grad compare embeddings."""

Variant = Literal["best", "grad", "best-ada", "grad-ada"]

Score = Callable[[Array], Array]
"""Embedding z [dz] -> its score."""


class DROPConfig(Config):
    """Hyper-parameters of DROP."""

    discount: float = Field(0.99, ge=0, lt=1, description="gamma, the discount factor")
    tau: float = Field(0.005, gt=0, le=1, description="Polyak step of the target scores")
    batch_size: int = Field(256, ge=1, description="rows of one gradient step")
    hidden: tuple[int, ...] = Field((256, 256), description="widths of the policy's and scores' hidden layers")
    critics: int = Field(2, ge=1, description="score networks whose minimum is the score")
    learning_rate: float = Field(3e-4, gt=0, description="Adam rate of policy, scores and embeddings")
    subsets: int = Field(100, ge=1, description="N, subsets of the episodes")
    grouping: Literal["return", "random"] = Field("return", description="episodes ranked by return, or at random")
    embedding_dim: int = Field(5, ge=1, description="dimension of z, which lies in [-1, 1]")
    multiplier: float | None = Field(None, ge=0, description="fixed weight nu of R, 0 for none; learned when absent")
    multiplier_lr: float = Field(1e-3, gt=0, description="step of the learned nu")
    slack: float = Field(0.0, description="eta, the R that is allowed, in units of the largest |reward|")
    regularize_embedding: bool = Field(True, description="R moves the embeddings too, through f(s, a, z_n)")
    prior: Literal["ascent", "uniform"] = Field("ascent", description="mu: where the scores lead from z_n, or the box")
    ascent_steps: int = Field(5, ge=0, description="steps of mu's ascent")
    ascent_size: float = Field(0.1, gt=0, description="length of one of them")
    variant: Variant = Field("grad-ada", description="the search that `act` makes; all four are scored")
    search_steps: int = Field(10, ge=0, description="J, steps of the search at test time")
    search_size: float = Field(0.05, gt=0, description="rho, length of one of them")


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


def order_key(episode_return: Array, salt: Array | None) -> Array:
    """What episodes are ranked by: their return, or a hash of it with `salt` (Murmur3's last mix) for random groups."""
    if salt is None:
        return episode_return
    x = jax.lax.bitcast_convert_type(episode_return, jnp.uint32) ^ salt
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return ((x ^ (x >> 16)) >> 8).astype(jnp.float32)


def subset_thresholds(keys: Array, is_first: Array, count: int) -> Array:
    """The lowest key of each of `count` contiguous groups with equally many episodes: [count].

    Args:
      keys: [n] the key of each row's episode.
      is_first: [n] bool, the row starts an episode.
      count: N; with fewer episodes some groups are empty.
    """
    ranked = jnp.sort(jnp.where(is_first, keys, jnp.inf))
    return ranked[jnp.arange(count) * is_first.sum() // count]


def subset_of(keys: Array, thresholds: Array) -> Array:
    """The group of each key, the first for keys below them all: int32."""
    return jnp.maximum(jnp.searchsorted(thresholds, keys, side="right") - 1, 0).astype(jnp.int32)


def td_error(q: Array, target: Array, known: Array) -> Array:
    """mean_k mean over known rows of (f_k(s,a,z_n) - y)^2, for q [K, B], y [B]."""
    return (jnp.square(q - target) * known).sum() / (q.shape[0] * jnp.maximum(known.sum(), 1))


def raise_multiplier(multiplier: Array, excess: Array, rate: float) -> Array:
    """nu <- max(0, nu + lr (R - eta))."""
    return jnp.maximum(0.0, multiplier + rate * excess)


def ascend(score: Score, start: Array, steps: int, size: float) -> Array:
    """The best of `start` and `steps` iterates z <- clip(z + size grad / ||grad||, -1, 1): never worse than `start`."""

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        z, best, highest = carry
        value, slope = jax.value_and_grad(score)(z)
        best, highest = jnp.where(value > highest, z, best), jnp.maximum(value, highest)
        z = jnp.clip(z + size * slope / (jnp.linalg.norm(slope) + 1e-8), -1.0, 1.0)
        return (z, best, highest), None

    (last, best, highest), _ = jax.lax.scan(step, (start, start, jnp.asarray(-jnp.inf)), length=steps)
    return jnp.where(score(last) > highest, last, best)


def build(problem: Problem, config: DROPConfig, steps: int) -> Algorithm:
    """DROP for a run of `steps` gradient steps."""
    actor = GaussianActor(config.hidden, problem.action_dim)
    critic = critic_ensemble(config.critics, config.hidden)
    optimizer = optax.adam(config.learning_rate)

    def imitate(networks: Networks, obs: Array, z: Array) -> Array:
        """beta(s, z), the mean action."""
        return jnp.tanh(apply(actor, networks.actor, jnp.concatenate([obs, z], axis=-1))[0])

    def scores(weights: Params, obs: Array, action: Array, z: Array) -> Array:
        """f_k(s, a, z): [K, ...]."""
        values: Array = apply(critic, weights, jnp.concatenate([obs, z], axis=-1), action)
        return values

    def score(networks: Networks, obs: Array, z: Array) -> Array:
        """g(s, z) for one z [dz] and observations [..., d], with the whole derivative in z."""
        z = jnp.broadcast_to(z, (*obs.shape[:-1], z.shape[-1]))
        return scores(networks.critic, obs, imitate(networks, obs, z), z).min(axis=0)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> DROPState:
        width, shape = problem.obs_dim + config.embedding_dim, (config.subsets, config.embedding_dim)
        networks = Networks(
            actor=init_params(actor, stream(key, "actor"), width),
            critic=init_params(critic, stream(key, "critic"), width, problem.action_dim),
            table=0.5 * jax.random.normal(stream(key, "table"), shape),
        )
        salt = jax.random.bits(stream(key, "salt"))
        keys = order_key(data.episode_return, salt if config.grouping == "random" else None)
        thresholds = subset_thresholds(keys, data.is_first, config.subsets)
        episodes = jnp.zeros(config.subsets, jnp.int32).at[subset_of(keys, thresholds)].add(data.is_first)
        state = DROPState(
            networks=TrainState.create(networks, optimizer),
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
        return deploy(state)

    def sample(state: DROPState, data: Data, key: Key) -> DROPBatch:
        rows, count = data.transitions, data.transitions.reward.shape[0]
        index = indices(key, config.batch_size, count)
        chosen = jax.tree.map(lambda leaf: leaf[index], rows)
        keys = order_key(data.episode_return[index], state.salt if config.grouping == "random" else None)
        return DROPBatch(
            rows=chosen._replace(reward=chosen.reward / state.reward_scale),
            next_action=rows.action[jnp.minimum(index + 1, count - 1)],
            known=data.has_next[index] | (chosen.discount == 0),
            subset=subset_of(keys, state.thresholds),
        )

    def adversaries(networks: Networks, obs: Array, z: Array, key: Key) -> Array:
        """z ~ mu, for each row of embeddings [B, dz]."""
        if config.prior == "uniform":
            return jax.random.uniform(key, z.shape, minval=-1.0, maxval=1.0)

        def climb(obs: Array, start: Array) -> Array:
            return ascend(partial(score, networks, obs), start, config.ascent_steps, config.ascent_size)

        return jax.vmap(climb)(obs, z)

    def loss(networks: Networks, state: DROPState, batch: DROPBatch, key: Key) -> tuple[Array, Metrics]:
        """L_bc + L_td + nu (R - eta); beta gets L_bc alone, the embeddings L_bc and R, the scores L_td and R."""
        rows, z = batch.rows, jnp.tanh(networks.table)[batch.subset]
        mean, log_std = apply(actor, networks.actor, jnp.concatenate([rows.obs, z], axis=-1))
        cloning = -action_log_prob(mean, log_std, rows.action).mean()
        frozen, fixed = jax.lax.stop_gradient((networks, z))
        q = scores(networks.critic, rows.obs, rows.action, fixed)
        next_q = scores(state.target, rows.next_obs, batch.next_action, fixed).min(axis=0)
        target = rows.reward + config.discount * rows.discount * next_q
        regression = td_error(q, target, batch.known)
        adversary = jax.lax.stop_gradient(adversaries(frozen, rows.obs, fixed, key))
        outside = scores(networks.critic, rows.obs, imitate(frozen, rows.obs, adversary), adversary).mean()
        inside = scores(networks.critic, rows.obs, rows.action, z).mean() if config.regularize_embedding else q.mean()
        excess = outside - inside - config.slack
        metrics = {"actor_loss": cloning, "critic_loss": regression, "conservative": outside - inside}
        metrics |= {"q": q.mean(), "target": target.mean()}
        return cloning + regression + state.multiplier * excess, metrics

    def update(state: DROPState, batch: DROPBatch, key: Key) -> tuple[DROPState, Metrics]:
        grads, metrics = jax.grad(loss, has_aux=True)(state.networks.params, state, batch, key)
        networks, multiplier = state.networks.step(grads, optimizer), state.multiplier
        if config.multiplier is None:
            multiplier = raise_multiplier(multiplier, metrics["conservative"] - config.slack, config.multiplier_lr)
        target = polyak(state.target, networks.params.critic, config.tau)
        state = state.replace(networks=networks, target=target, multiplier=multiplier)
        return state, metrics | {"multiplier": multiplier}

    def choose(variant: Variant, state: DROPState, value: Score, at_once: int) -> Array:
        """The z_n of the occupied subset with the highest value, or where the search leads from it."""
        table = jnp.tanh(state.networks.params.table)
        values = jnp.where(state.occupied, jax.lax.map(value, table, batch_size=at_once), -jnp.inf)
        best = table[values.argmax()]
        return best if variant.startswith("best") else ascend(value, best, config.search_steps, config.search_size)

    def deploy(state: DROPState) -> DROPState:
        """The z of Best and Grad: by the mean score over start states, for all episodes of an evaluation."""
        value: Score = lambda z: score(state.networks.params, state.starts, z).mean()  # noqa: E731
        return state.replace(best=choose("best", state, value, 8), grad=choose("grad", state, value, 8))

    def embedding(variant: Variant, state: DROPState, obs: Array) -> Array:
        if variant in ("best", "grad"):
            return state.best if variant == "best" else state.grad
        return choose(variant, state, partial(score, state.networks.params, obs), config.subsets)

    def acting(variant: Variant) -> Act:
        def act(state: DROPState, obs: Array, key: Key, deterministic: bool) -> Array:
            context = jnp.concatenate([obs, embedding(variant, state, obs)])
            mean, log_std = apply(actor, state.networks.params.actor, context)
            return jnp.tanh(mean) if deterministic else tanh_gaussian(mean, log_std).sample(seed=key)

        return act

    variants = {variant: acting(variant) for variant in get_args(Variant)}
    return Algorithm(init, sample, update, variants[config.variant], deploy=deploy, variants=variants)


DEFINITION = Definition(
    name="drop",
    title="Design from Policies: Conservative Test-Time Adaptation",
    paper="Liu et al., NeurIPS 2023, arXiv 2306.14479; as DROP at OpenReview, 2022",
    equation="train: beta(a|s,z_n), f(s,a,z_n) with E_mu f(s,beta(s,z),z) - E f(s,a,z_n) <= eta;  "
    "act: beta(s,z*), z* = argmax_z f(s,beta(s,z),z)",
    config=DROPConfig,
    build=build,
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
)
