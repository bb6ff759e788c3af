"""Fitted Q evaluation on a system whose values are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.selection.fqe import FQEConfig, fitted_q, q_values, value_bounds, value_unit
from offline_mbrl.types import Transition

CONFIG = FQEConfig(discount=0.8, hidden=(32,), steps=3000, batch_size=64, learning_rate=3e-3, tau=0.02)


def chain(rows: int) -> Transition:
    """Two states, 0 and 1, which follow each other; r = a + s. In state 1 an episode may end, at every fourth row."""
    generator = np.random.default_rng(0)
    state, action = generator.integers(0, 2, rows).astype(np.float32), generator.uniform(-1, 1, rows)
    ends = (state == 1) & (np.arange(rows) % 4 == 0)
    return Transition(
        obs=jnp.asarray(state)[:, None],
        action=jnp.asarray(action, jnp.float32)[:, None],
        reward=jnp.asarray(action + state, jnp.float32),
        discount=jnp.asarray(1.0 - ends, jnp.float32),
        next_obs=jnp.asarray(1 - state)[:, None],
    )


def closed_form(action: float, end: float) -> tuple[float, float]:
    """V(0) and V(1) of the policy that always plays `action`, where state 1 ends with probability `end`.

    V0 = a + g V1,  V1 = a + 1 + g (1 - end) V0.
    """
    gamma = CONFIG.discount
    first = (action + gamma * (action + 1)) / (1 - gamma**2 * (1 - end))
    return first, action + 1 + gamma * (1 - end) * first


@pytest.mark.medium
def test_the_values_of_policies_are_those_of_the_closed_form() -> None:
    rows = chain(2000)
    end = float(1 - rows.discount[rows.obs[:, 0] == 1].mean())
    played = jnp.array([-0.5, 0.0, 0.8])
    evaluator = fitted_q(CONFIG, rows, jnp.broadcast_to(played[:, None, None], (3, 2000, 1)), jax.random.key(0))
    states = jnp.array([[0.0], [1.0]])
    found = q_values(CONFIG, evaluator, states, jnp.broadcast_to(played[:, None, None], (3, 2, 1)))
    np.testing.assert_allclose(found, [closed_form(float(action), end) for action in played], atol=0.15)


@pytest.mark.medium
def test_a_policy_is_evaluated_as_if_it_were_alone() -> None:
    rows, config = chain(200), CONFIG.model_copy(update={"steps": 50})
    actions = jnp.broadcast_to(jnp.array([-0.5, 0.8])[:, None, None], (2, 200, 1))
    both = fitted_q(config, rows, actions, jax.random.key(0)).params
    alone = fitted_q(config, rows, actions[1:], jax.random.key(0)).params
    for one, other in zip(jax.tree.leaves(both), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one[1], other[0], atol=1e-5)


def test_values_stay_within_what_rewards_add_up_to() -> None:
    low, high = value_bounds(CONFIG, jnp.array([0.5, 2.0]))
    assert (float(low), float(high)) == pytest.approx((0.0, 10.0))  # an episode may end
    assert float(value_unit(CONFIG, jnp.array([-1.0, 2.0]))) == pytest.approx(7.5)
