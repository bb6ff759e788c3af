"""CQL's proposals and its warm start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import sac
from offline_mbrl.algorithms.presets import preset_names, resolve
from offline_mbrl.algorithms.systems.cql import (
    DEFINITION,
    CQLConfig,
    CQLState,
    init,
    make,
    propose,
    update_actor,
    update_critic,
    warm_actor_loss,
)
from offline_mbrl.nn.networks import action_log_prob
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Array, Data, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(2, 1)
KEY = jax.random.key(5)


def config(**settings: object) -> CQLConfig:
    return CQLConfig.model_validate({"hidden": (), "batch_size": 4, "action_samples": 3} | settings)


def rows() -> Transition:
    """Actions on the border of the box and inside."""
    action = jnp.array([[-1.0], [0.3], [0.5], [1.0]])
    return toys.random_rows(4, 2, 1)._replace(action=action, reward=jnp.ones(4), discount=jnp.ones(4))


def data() -> Data:
    return toys.data_of(rows())


def test_all_three_kinds_are_judged_at_s() -> None:
    agent, settings, batch = sac.make(PROBLEM, config(), 10), config(), rows()
    actor = sac.init(agent, KEY).actor.params
    proposals = propose(settings, agent, actor, batch, KEY)
    assert proposals.action.shape == (3, 3, 4, 1)
    np.testing.assert_array_equal(proposals.obs, batch.obs)
    # Kinds 0 and 1 carry the density of the policy at s and at s', kind 2 the uniform law's.
    for kind, obs in ((0, batch.obs), (1, batch.next_obs)):
        parameters = sac.policy_parameters(agent, actor, obs)
        expected = action_log_prob(*parameters, proposals.action[1, kind])
        inside = jnp.abs(proposals.action[1, kind, :, 0]) < 0.999
        assert inside.any()
        np.testing.assert_allclose(proposals.log_density[1, kind][inside], expected[inside], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(proposals.log_density[:, 2], -np.log(2.0), rtol=1e-6)


def test_while_cloning_the_loss_is_entropy_and_likelihood() -> None:
    agent, batch = sac.make(PROBLEM, config(temperature=0.2), 10), rows()
    learner = sac.init(agent, KEY)
    parameters = sac.policy_parameters(agent, learner.actor.params, batch.obs)
    _, log_prob = sac.sample_action(agent, learner.actor.params, batch.obs, KEY)
    expected = (0.2 * log_prob - action_log_prob(*parameters, batch.action)).mean()

    def loss(cloning: Array) -> tuple[Array, Array]:
        actor = learner.actor.params
        return warm_actor_loss(agent, actor, learner, batch.obs, KEY, logged=batch.action, cloning=cloning)

    value, mean_log_prob = jax.jit(loss)(jnp.asarray(True))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert float(mean_log_prob) == pytest.approx(float(log_prob.mean()), rel=1e-5)
    assert np.isfinite(float(value))  # with actions on the border of the box


def test_after_the_warm_start_the_loss_is_sacs() -> None:
    agent, batch = sac.make(PROBLEM, config(), 10), rows()
    learner = sac.init(agent, KEY)
    actor, cloning = learner.actor.params, jnp.asarray(False)
    value, _ = warm_actor_loss(agent, actor, learner, batch.obs, KEY, logged=batch.action, cloning=cloning)
    expected, _ = sac.actor_loss(agent, actor, learner, batch.obs, KEY)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


def test_each_update_moves_its_own_part() -> None:
    static, batch = make(PROBLEM, config(weighting="learned", threshold=1e3), 10), rows()
    state = init(static, KEY, data(), {})
    critics, _ = update_critic(static, state, batch, KEY)
    actor, _ = update_actor(static, state, batch, KEY)
    assert toys.differ(critics.learner.critic, state.learner.critic)
    assert toys.differ(critics.log_weight, state.log_weight)
    assert not toys.differ(critics.learner.actor, state.learner.actor)
    assert toys.differ(actor.learner.actor, state.learner.actor)
    assert toys.differ(actor.learner.log_alpha, state.learner.log_alpha)
    assert not toys.differ(actor.learner.critic, state.learner.critic)


def test_the_warm_start_ends_on_its_step() -> None:
    # While cloning, the actor's step does not depend on the critics; from the first step after, it does.
    algorithm = DEFINITION.build(PROBLEM, config(warm_start=0.5), 10)
    update = jax.jit(lambda state: algorithm.update(state, rows(), KEY)[0].learner.actor.params)
    start: CQLState = algorithm.init(KEY, data(), {})
    other = start.replace(
        learner=start.learner.replace(
            critic=start.learner.critic.replace(
                params=jax.tree.map(lambda leaf: -3 * leaf, start.learner.critic.params)
            )
        )
    )

    def critics_matter(step: int) -> bool:
        at = jnp.asarray(step, jnp.int32)
        return toys.differ(update(start.replace(step=at)), update(other.replace(step=at)))

    assert [critics_matter(step) for step in (0, 4, 5, 9)] == [False, False, True, True]


def test_the_learned_weight_moves_and_a_fixed_one_does_not() -> None:
    def weight_after(**settings: object) -> Array:
        algorithm = DEFINITION.build(PROBLEM, config(**settings), 10)
        after: CQLState = jax.jit(algorithm.update)(algorithm.init(KEY, data(), {}), rows(), KEY)[0]
        return after.log_weight.params

    assert float(weight_after()) == 0.0
    assert float(weight_after(weighting="learned", threshold=1e3)) < 0.0


@pytest.mark.parametrize("preset", [None, *preset_names("cql")])
def test_every_preset_resolves_on_every_task(preset: str | None) -> None:
    for task in TASKS:
        resolved = resolve(DEFINITION, task, preset)
        assert isinstance(resolved.config, CQLConfig)
        assert not resolved.config.entropy_in_target
