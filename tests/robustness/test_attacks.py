"""Attacks on policies and critics whose worst observation is known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.robustness.attacks import (
    ATTACKS,
    Target,
    action_diff,
    action_distance,
    compile_attack,
    get_attack,
    law_distance,
    min_q,
    pgd_action,
    pgd_min_q,
)
from offline_mbrl.types import Array, Key

pytestmark = pytest.mark.medium

POLICY = jnp.array([[0.3, -0.2, 0.1, 0.0], [-0.1, 0.4, 0.0, 0.2]])
TASTE = jnp.array([2.0, -1.0])
OBS = jnp.array([0.5, -1.0, 2.0, 0.1])
BUDGET = jnp.array([0.1, 0.2, 0.3, 0.05])
SLOPE = TASTE @ POLICY  # of Q(s, pi(s~)) in s~


def linear_act(obs: Array) -> Array:
    return POLICY @ obs


def linear_value(obs: Array, action: Array) -> Array:
    """Q(s, a) = s_0 + taste . a, so that d Q(s, pi(s~)) / d s~ = taste^T W."""
    return obs[0] + TASTE @ action


LINEAR = Target(linear_act, partial(action_distance, linear_act), linear_value)


def first_action(obs: Array) -> Array:
    return linear_act(obs)[:1]


@pytest.mark.parametrize("seed", range(3))
def test_gradients_find_the_worst_corner_of_a_linear_critic_and_policy(seed: int) -> None:
    """min over the box of slope . s~ lies at s - budget * sign(slope)."""
    seen = pgd_min_q(1, LINEAR, OBS, BUDGET, jax.random.key(seed))
    np.testing.assert_allclose(seen, OBS - BUDGET * jnp.sign(SLOPE), rtol=1e-6)
    worst = linear_value(OBS, linear_act(OBS)) - jnp.abs(SLOPE) @ BUDGET
    np.testing.assert_allclose(linear_value(OBS, linear_act(seen)), worst, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_change_a_single_linear_action_as_much_as_can_be(seed: int) -> None:
    """max |w . delta|^2 = (|w| . budget)^2 = (0.3 * 0.1 + 0.2 * 0.2 + 0.1 * 0.3 + 0)^2 = 0.01."""
    target = Target(first_action, partial(action_distance, first_action), None)
    seen = pgd_action(1, target, OBS, BUDGET, jax.random.key(seed))
    assert float(target.change(OBS, seen)) == pytest.approx(0.01, rel=1e-5)


def test_no_budget_is_no_attack() -> None:
    for name in ATTACKS:
        seen = get_attack(name, 50)(LINEAR, OBS, jnp.zeros(4), jax.random.key(0))
        np.testing.assert_array_equal(seen, OBS)


def test_where_the_critics_like_every_change_min_q_takes_none() -> None:
    """Q = -|a - pi(s)|^2 turned over: every other action is better, so the true observation is the worst."""
    target = LINEAR._replace(value=lambda obs, action: jnp.square(action - linear_act(obs)).sum())
    np.testing.assert_array_equal(min_q(50, target, OBS, BUDGET, jax.random.key(0)), OBS)


def bent_act(obs: Array) -> Array:
    """A policy with curvature."""
    return jnp.tanh(POLICY @ jnp.sin(3 * obs))


def bent_value(obs: Array, action: Array) -> Array:
    return jnp.cos(2 * TASTE @ action) + obs @ obs


BENT = Target(bent_act, partial(action_distance, bent_act), bent_value)


@pytest.mark.parametrize("seed", range(5))
def test_gradients_are_at_least_as_strong_as_draws(seed: int) -> None:
    key = jax.random.key(seed)
    changed = [float(BENT.change(OBS, attack(50, BENT, OBS, BUDGET, key))) for attack in (action_diff, pgd_action)]
    assert changed[0] <= changed[1]
    value = [float(bent_value(OBS, bent_act(attack(50, BENT, OBS, BUDGET, key)))) for attack in (min_q, pgd_min_q)]
    assert value[1] <= value[0]
    assert changed[1] > changed[0] or value[1] < value[0], "gradients add nothing to the draws"


def test_a_larger_budget_is_a_stronger_attack() -> None:
    """In the mean over observations; the same draws are scaled."""
    observations = jax.random.normal(jax.random.key(1), (64, 4))
    keys = jax.random.split(jax.random.key(2), 64)

    def harm(scale: float) -> float:
        seen = jax.vmap(partial(pgd_min_q, 50, LINEAR), in_axes=(0, None, 0))(observations, scale * BUDGET, keys)
        return float(-jax.vmap(linear_value)(observations, jax.vmap(linear_act)(seen)).mean())

    assert np.all(np.diff([harm(scale) for scale in (0.0, 0.5, 1.0, 2.0)]) > 0)


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_shown_stays_in_the_box(name: str) -> None:
    seen = get_attack(name, 20)(BENT, OBS, BUDGET, jax.random.key(3))  # type: ignore[arg-type]
    assert np.all(np.abs(seen - OBS) <= BUDGET * (1 + 1e-5))


def test_the_divergence_of_gaussians_is_symmetric_and_known() -> None:
    """N(0, 1) and N(1, 2^2): KL = ln 2 + (1 + 1) / 8 - 1 / 2 and -ln 2 + (4 + 1) / 2 - 1 / 2; their sum is 1.75."""

    def law(obs: Array) -> tuple[Array, Array]:
        return obs, obs * jnp.log(2.0)

    there, back = (law_distance(law, jnp.array([a]), jnp.array([b])) for a, b in ((0.0, 1.0), (1.0, 0.0)))
    assert float(there) == pytest.approx(1.75, rel=1e-6)
    assert float(back) == pytest.approx(1.75, rel=1e-6)


def linear_algorithm() -> Algorithm:
    """A policy W s with W its state, and the linear critic."""

    def unused(*_: object) -> None:
        raise AssertionError

    def act(state: Array, obs: Array, key: Key, deterministic: bool) -> Array:
        return state @ obs

    def value(state: Array, obs: Array, action: Array) -> Array:
        return linear_value(obs, action)

    return Algorithm(unused, unused, unused, act, value=value)  # type: ignore[arg-type]


def test_lanes_budgets_and_episodes_are_attacked_as_if_alone() -> None:
    states = jnp.stack([POLICY, -2 * POLICY])
    obs = jax.random.normal(jax.random.key(5), (2, 3, 4, 4))
    budgets = jnp.outer(jnp.array([0.0, 1.0, 2.0]), BUDGET)
    keys = jax.random.split(jax.random.key(6), (2, 4))
    seen = compile_attack(linear_algorithm(), "pgd_min_q", 5)(states, obs, budgets, keys)
    for lane, sign in ((0, 1.0), (1, -1.0)):
        expected = obs[lane] - budgets[:, None] * jnp.sign(sign * SLOPE)
        np.testing.assert_allclose(seen[lane], expected, rtol=1e-5, atol=1e-6)
