"""Observations within a box around the true one that mislead a policy most: MICRO's sampled attacks, and gradients.

The box is +- epsilon times the data's standard deviation, dimension by dimension. All functions are of one observation
and pure; callers vmap over seeds, budgets and episodes. The policy goes on from the true state: only what it sees is
changed.

    random        one uniform draw
    action_diff   of 50 draws the one that changes the policy most: symmetric KL of its Gaussians before the squash
    min_q         of 50 draws and none the one whose action the critics' minimum likes least, at the true observation
    pgd_action    projected gradient ascent on action_diff's goal, from its best draw
    pgd_min_q     projected gradient descent on min_q's goal, from its best draw

The first three are MICRO's (arXiv 2312.03991, after RORL, arXiv 2206.02829). The gradients begin where the draws end
and keep the best point they meet, so within one observation no draw is stronger.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.algorithm import Algorithm, State
from offline_mbrl.types import Array, Key

AttackName = Literal["random", "action_diff", "min_q", "pgd_action", "pgd_min_q"]
ATTACKS: tuple[AttackName, ...] = get_args(AttackName)

NEED_CRITICS: frozenset[AttackName] = frozenset({"min_q", "pgd_min_q"})

STEPS, STRIDE = 10, 0.25
"""Gradient steps, and the share of the budget that each takes: ten cross the whole box, with two to spare."""


class Target(NamedTuple):
    """What is attacked, one seed's."""

    act: Callable[[Array], Array]  # obs [d] -> action [m]
    change: Callable[[Array, Array], Array]  # (true obs, seen obs) -> how differently the policy acts
    value: Callable[[Array, Array], Array] | None  # (obs, action) -> the critics' minimum; None where there are none


Attack = Callable[[Target, Array, Array, Key], Array]
"""(target, obs [d], budget [d], key) -> what the policy is shown [d]."""

Goal = Callable[[Array], Array]
"""Seen observation [d] -> what the attack raises."""


def target_of(algorithm: Algorithm, state: State) -> Target:
    """The policy and the critics of one seed in a state that went through `deploy`."""
    act = partial(_deterministic, algorithm, state)
    value = partial(algorithm.value, state) if algorithm.value else None
    if algorithm.law is None:
        return Target(act, partial(action_distance, act), value)
    return Target(act, partial(law_distance, partial(algorithm.law, state)), value)


def action_distance(act: Callable[[Array], Array], obs: Array, seen: Array) -> Array:
    """|pi(s) - pi(s~)|^2: what a divergence of deterministic policies is taken for."""
    return jnp.square(act(obs) - act(seen)).sum()


def law_distance(law: Callable[[Array], tuple[Array, Array]], obs: Array, seen: Array) -> Array:
    """KL(pi(s) || pi(s~)) + KL(pi(s~) || pi(s)) of diagonal Gaussians before the squash, which changes no KL."""
    (mean, log_std), (other_mean, other_log_std) = law(obs), law(seen)
    gap = jnp.square(mean - other_mean)
    ratio = jnp.exp(2 * (log_std - other_log_std))
    precisions = jnp.exp(-2 * log_std) + jnp.exp(-2 * other_log_std)
    return 0.5 * (ratio + 1 / ratio - 2 + gap * precisions).sum()


def random(target: Target, obs: Array, budget: Array, key: Key) -> Array:
    """One draw of the box."""
    return obs + draws(budget, 1, key)[0]


def sampled(goal: Goal, obs: Array, offsets: Array) -> Array:
    """The best for `goal` of obs + offsets [n, d]."""
    candidates = obs + offsets
    return candidates[jax.vmap(goal)(candidates).argmax()]


def action_diff(count: int, target: Target, obs: Array, budget: Array, key: Key) -> Array:
    """Of `count` draws the one that changes the policy most."""
    return sampled(partial(target.change, obs), obs, draws(budget, count, key))


def min_q(count: int, target: Target, obs: Array, budget: Array, key: Key) -> Array:
    """Of `count` draws and none the one whose action has the lowest value."""
    return sampled(dislike(target, obs), obs, with_none(draws(budget, count, key)))


def pgd_action(count: int, target: Target, obs: Array, budget: Array, key: Key) -> Array:
    """What changes the policy most, by gradients from `action_diff`'s choice."""
    return ascend(partial(target.change, obs), obs, budget, action_diff(count, target, obs, budget, key))


def pgd_min_q(count: int, target: Target, obs: Array, budget: Array, key: Key) -> Array:
    """What the critics like least, by gradients from `min_q`'s choice."""
    return ascend(dislike(target, obs), obs, budget, min_q(count, target, obs, budget, key))


def dislike(target: Target, obs: Array) -> Goal:
    """-min_k Q_k(s, pi(s~)) at the true s."""
    assert target.value is not None, "a system without critics was to be left out"
    value = partial(target.value, obs)
    return lambda seen: -value(target.act(seen))


def ascend(goal: Goal, obs: Array, budget: Array, start: Array) -> Array:
    """The best point on `STEPS` steps of sign(gradient) from `start`, each projected to the box around obs."""
    value_and_slope = jax.value_and_grad(goal)

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        seen, best, highest = carry
        value, slope = value_and_slope(seen)
        best, highest = jnp.where(value > highest, seen, best), jnp.maximum(value, highest)
        moved = seen + STRIDE * budget * jnp.sign(slope)
        return (jnp.clip(moved, obs - budget, obs + budget), best, highest), None

    (last, best, highest), _ = jax.lax.scan(step, (start, start, goal(start)), None, length=STEPS)
    return jnp.where(goal(last) > highest, last, best)


def draws(budget: Array, count: int, key: Key) -> Array:
    """[count, d] uniform in the box; a larger budget scales the same draws."""
    return budget * jax.random.uniform(key, (count, *budget.shape), minval=-1.0, maxval=1.0)


def with_none(offsets: Array) -> Array:
    """No offset first, so that it wins where nothing is better."""
    return jnp.concatenate([jnp.zeros_like(offsets[:1]), offsets])


def get_attack(name: AttackName, count: int) -> Attack:
    """The attack of that name with `count` draws."""
    several = {"action_diff": action_diff, "min_q": min_q, "pgd_action": pgd_action, "pgd_min_q": pgd_min_q}
    return random if name == "random" else partial(several[name], count)


def compile_attack(algorithm: Algorithm, name: AttackName, count: int) -> Callable[[State, Array, Array, Key], Array]:
    """The attack on all lanes as one program.

    Returns:
      (states [S], obs [S, P, E, d], budgets [P, d], keys [S, E]) -> what the policies are shown [S, P, E, d].
    """
    attack = get_attack(name, count)

    def one(state: State, obs: Array, budget: Array, key: Key) -> Array:
        return attack(target_of(algorithm, state), obs, budget, key)

    episodes = jax.vmap(one, in_axes=(None, 0, None, 0))
    budgets = jax.vmap(episodes, in_axes=(None, 0, 0, None))
    return jax.jit(jax.vmap(budgets, in_axes=(0, 0, None, 0)))


def _deterministic(algorithm: Algorithm, state: State, obs: Array) -> Array:
    return algorithm.act(state, obs, jax.random.key(0), True)
