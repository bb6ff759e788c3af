"""The checks with which an actor-critic is debugged; each isolates one part."""

import jax
import jax.numpy as jnp
import pytest

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.parts.sac import SACConfig, SACState
from offline_mbrl.keys import indices, stream
from offline_mbrl.types import Array, Key, Metrics, Problem, Transition

pytestmark = pytest.mark.medium

ONLINE = Problem(obs_dim=1, action_dim=1, terminates=lambda obs: jnp.zeros(obs.shape[:-1], bool))
LEARNER = sac.make(
    ONLINE,
    SACConfig(
        hidden=(32, 32), discount=0.5, tau=0.05, actor_lr=2e-3, critic_lr=2e-3, temperature=0.01, actor_lr_decay=False
    ),
    1500,
)


def value_rows(obs: list[float], reward: list[float], discount: list[float], next_obs: list[float]) -> dict[str, Array]:
    """A table of transitions, each with actions on a grid; the reward does not depend on them."""
    grid = jnp.linspace(-1, 1, 9)

    def wide(x: list[float]) -> Array:
        return jnp.repeat(jnp.array(x, jnp.float32), 9)

    return {
        "obs": wide(obs)[:, None],
        "action": jnp.tile(grid, len(obs))[:, None],
        "reward": wide(reward),
        "discount": wide(discount),
        "next_obs": wide(next_obs)[:, None],
    }


def sample_table(key: Key, size: int, values: dict[str, Array]) -> Transition:
    """`size` random rows of a table: every leaf of `values` is indexed alike."""
    index = indices(stream(key, "row"), size, values["reward"].shape[0])
    return Transition(**{name: value[index] for name, value in values.items()})


@jax.jit
def train(values: dict[str, Array]) -> SACState:
    """1500 steps on a table of 18 rows; one compilation for all of these checks."""

    def step(state: SACState, key: Key) -> tuple[SACState, Metrics]:
        return sac.update(LEARNER, state, sample_table(key, 64, values), key)

    state: SACState = jax.lax.scan(
        step, sac.init(LEARNER, jax.random.key(0)), jax.random.split(jax.random.key(1), 1500)
    )[0]
    return state


def q_at(state: SACState, obs: list[float], action: list[float]) -> Array:
    inputs = (jnp.array(x, jnp.float32)[:, None] for x in (obs, action))
    return sac.q_values(LEARNER, state.critic.params, *inputs).mean(axis=0)


def policy_at(state: SACState, obs: list[float]) -> Array:
    return sac.act(LEARNER, state.actor.params, jnp.array(obs)[:, None], jax.random.key(0), deterministic=True)[:, 0]


def close(found: Array, expected: list[float], tolerance: float = 0.1) -> None:
    assert found.tolist() == pytest.approx(expected, abs=tolerance)


def test_a_constant_reward_is_the_value() -> None:
    """The critic's loss and optimizer."""
    close(q_at(train(value_rows([0, 0], [1, 1], [0, 0], [0, 0])), [0, 0], [-0.5, 0.5]), [1, 1])


def test_the_value_depends_on_the_observation() -> None:
    """Gradients through the critic's input."""
    close(q_at(train(value_rows([-1, 1], [-1, 1], [0, 0], [0, 0])), [-1, 1], [0.5, -0.5]), [-1, 1])


def test_a_later_reward_is_discounted_once() -> None:
    """Bootstrapping: from 0 to 1 without a reward, then 1 and the end; V(0) = gamma."""
    close(q_at(train(value_rows([-1, 1], [0, 1], [1, 0], [1, 0])), [-1, 1], [0, 0]), [0.5, 1])


def test_an_endless_reward_sums_to_its_geometric_series() -> None:
    """Bootstrapping on itself: 1 / (1 - gamma), and the entropy's 0.01 H on top."""
    close(q_at(train(value_rows([0, 0], [1, 1], [1, 1], [0, 0])), [0], [0]), [2])


def test_the_policy_finds_the_better_action() -> None:
    """The policy's gradient: the reward is the action."""
    values = value_rows([0, 0], [0, 0], [0, 0], [0, 0])
    state = train(values | {"reward": values["action"][:, 0]})
    close(policy_at(state, [0]), [1])
    close(q_at(state, [0, 0], [1, -1]), [1, -1])


def test_the_policy_depends_on_the_observation() -> None:
    """Both together: the reward is -(a - s / 2)^2."""
    values = value_rows([-1, 1], [0, 0], [0, 0], [0, 0])
    state = train(values | {"reward": -jnp.square(values["action"] - 0.5 * values["obs"])[:, 0]})
    close(policy_at(state, [-1, 1]), [-0.5, 0.5], 0.15)


def test_the_policy_trades_a_reward_now_for_a_better_one_later() -> None:
    """The state is the last action: r = -|a| / 4 + s and s' = a, so a pays 0.5 later what costs 0.25 now, and a = 1."""
    values = value_rows([-1, 1], [0, 0], [1, 1], [0, 0])
    action = values["action"]
    state = train(values | {"reward": -0.25 * jnp.abs(action[:, 0]) + values["obs"][:, 0], "next_obs": action})
    close(policy_at(state, [-1, 1]), [1, 1], 0.15)


def test_rows_are_transitions() -> None:
    made = sample_table(jax.random.key(0), 5, value_rows([0, 1], [0, 1], [1, 0], [1, 0]))
    assert isinstance(made, Transition)
    assert made.obs.shape == (5, 1)
