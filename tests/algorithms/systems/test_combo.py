"""COMBO: which rows are pushed down, with which proposals, and the earlier policy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import conservative, sac
from offline_mbrl.algorithms.presets import preset_names, resolve
from offline_mbrl.algorithms.systems.combo import (
    DEFINITION,
    COMBOConfig,
    Previous,
    build,
    check,
    propose,
    pushed_rows,
    remember,
)
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Data, Key, Problem, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: jnp.abs(obs).max(-1) > 50)
KEY = jax.random.key(11)
DYNAMICS = {"members": 3, "elites": 2, "hidden": (4,), "weight_decay": (0.0, 0.0)}


def config(**settings: object) -> COMBOConfig:
    base = {"hidden": (), "batch_size": 8, "action_samples": 3, "rollout_batch": 10, "horizon": 2, "dynamics": DYNAMICS}
    return COMBOConfig.model_validate(base | settings)


def rows() -> Transition:
    return toys.random_rows(8, 2, 1)._replace(reward=jnp.ones(8), discount=jnp.ones(8))


def data() -> Data:
    return toys.data_of(rows())


def ensemble() -> Ensemble:
    dynamics = config().dynamics
    assert isinstance(dynamics, GaussianConfig)
    return toys.untrained_world(dynamics, 2, 1)


def test_half_of_a_batch_is_data() -> None:
    assert config().real_rows == 4
    assert COMBOConfig().real_rows == 128


def test_rho_is_the_batch_or_its_imagined_rows() -> None:
    batch = rows()
    np.testing.assert_array_equal(pushed_rows(config(), batch).obs, batch.obs)
    np.testing.assert_array_equal(pushed_rows(config(rho="model"), batch).obs, batch.obs[4:])


def test_the_data_term_is_the_data_rows_alone() -> None:
    agent, batch, settings = sac.make(PROBLEM, config(), 1), rows(), config(lse_group="kinds")
    learner = sac.init(agent, KEY)
    proposals = propose(settings, agent, learner.actor.params, None, batch, KEY)
    target, weight = jnp.zeros(8), jnp.ones(())
    _, metrics = conservative.critic_loss(
        settings, agent, learner.critic.params, batch, target, proposals, settings.real_rows, weight
    )
    obs = jnp.broadcast_to(batch.obs, (3, 3, 8, 2))
    q = sac.q_values(agent, learner.critic.params, obs, proposals.action)
    q_data = sac.q_values(agent, learner.critic.params, batch.obs, batch.action)[:, :4]
    expected = conservative.conservative_term(settings, q, proposals.log_density, q_data).mean()
    assert float(metrics["conservative"]) == pytest.approx(float(expected), rel=1e-5)


def test_proposals_of_each_prior() -> None:
    agent, batch = sac.make(PROBLEM, config(), 1), rows()
    actor, earlier = (sac.init(agent, jax.random.key(seed)).actor.params for seed in (0, 1))
    uniform = propose(config(), agent, actor, None, batch, KEY)
    weighted = propose(config(prior="previous-proposal"), agent, actor, earlier, batch, KEY)
    unweighted = propose(config(prior="previous-prior"), agent, actor, earlier, batch, KEY)
    assert uniform.action.shape == weighted.action.shape == (3, 3, 8, 1)
    # The policy's kinds are the same draws; only the third differs, and it is the earlier policy's with its density.
    np.testing.assert_array_equal(uniform.action[:, :2], weighted.action[:, :2])
    np.testing.assert_allclose(uniform.log_density[:, 2], -math.log(2.0), rtol=1e-6)
    assert float(jnp.abs(weighted.log_density[:, 2] + math.log(2.0)).min()) > 0
    assert unweighted.action.shape == (3, 1, 8, 1)
    np.testing.assert_array_equal(unweighted.action[:, 0], weighted.action[:, 2])
    np.testing.assert_array_equal(unweighted.log_density, 0.0)


@pytest.mark.parametrize(("lag", "ages"), [(1, [1, 1, 1, 1, 1]), (3, [1, 2, 3, 1, 2])])
def test_the_earlier_policy_is_one_to_lag_steps_old(lag: int, ages: list[int]) -> None:
    previous, found = Previous({"w": jnp.asarray(-1.0)}, jnp.zeros((), jnp.int32)), []
    for step in range(5):
        # The actor before step `step` is numbered so; after its step the actor is number step + 1.
        previous = remember(previous, {"w": jnp.asarray(float(step))}, lag)
        found.append(step + 1 - int(previous.actor["w"]))
    assert found == ages


@pytest.mark.parametrize(
    "settings", [{"real_ratio": 0.0}, {"rho": "model", "real_ratio": 1.0}, {"batch_size": 1, "real_ratio": 0.5}]
)
def test_a_batch_without_the_rows_it_needs_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match="rows in a batch"):
        check(config(**settings))


def test_without_maximization_no_data_rows_are_needed() -> None:
    check(config(real_ratio=0.0, maximize_data=False))


@pytest.mark.parametrize("preset", [None, *preset_names("combo")])
def test_every_preset_resolves_and_traces(preset: str | None) -> None:
    for task in TASKS:
        assert isinstance(resolve(DEFINITION, task, preset).config, COMBOConfig)
    tiny = {"hidden": (4,), "batch_size": 8, "action_samples": 2, "rollout_batch": 10, "rollout_every": 5}
    nested = {f"dynamics.{name}": value for name, value in DYNAMICS.items()}
    settings = resolve(DEFINITION, "hopper-medium", preset, tiny | nested).config
    algorithm = DEFINITION.build(PROBLEM, settings, 10)
    state = jax.eval_shape(algorithm.init, KEY, data(), toys.fitted(ensemble()))
    moved, metrics = jax.eval_shape(algorithm.update, state, rows(), KEY)
    same = jax.tree.map(lambda after, before: after.shape == before.shape, moved, state)
    assert all(jax.tree.leaves(same))
    assert all(metric.shape == () for metric in metrics.values())


def tied() -> Transition:
    """Data rows whose action is always 0.5, then imagined rows whose action is always -0.8; every target is to be 0."""
    obs = jax.random.normal(KEY, (64, 2))
    action = jnp.where(jnp.arange(64) < 32, 0.5, -0.8)[:, None]
    return Transition(obs, action, jnp.zeros(64), jnp.ones(64), obs)


def critics_after(steps: int, learning_rate: float, **settings: object) -> tuple[float, float]:
    """Mean Q at the data's action and at -0.8 over all states, after COMBO's critic steps toward 0."""
    chosen = config(hidden=(32,), batch_size=64, critic_lr=learning_rate, **settings)
    agent, rows = sac.make(PROBLEM, chosen, steps), tied()

    def step(learner: sac.SACState, key: Key) -> tuple[sac.SACState, None]:
        proposals = propose(chosen, agent, learner.actor.params, None, pushed_rows(chosen, rows), key)
        weight = conservative.init_weight(chosen)
        moved, _, _ = conservative.update_critic(
            chosen, agent, learner, weight, rows, jnp.zeros(64), proposals, chosen.real_rows
        )
        return moved, None

    end, _ = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(KEY, steps)))(sac.init(agent, KEY))
    at = [sac.q_values(agent, end.critic.params, rows.obs, jnp.full((64, 1), a)).mean() for a in (0.5, -0.8)]
    return float(at[0]), float(at[1])


@pytest.mark.parametrize("rho", ["mixed", "model"])
def test_the_first_step_raises_the_data_and_lowers_other_actions(rho: str) -> None:
    (seen, unseen), (plain_seen, plain_unseen) = (
        critics_after(1, 1e-4, rho=rho, conservative_weight=beta) for beta in (50.0, 0.0)
    )
    assert seen > plain_seen
    assert unseen < plain_unseen


@pytest.mark.parametrize("rho", ["mixed", "model"])
def test_two_hundred_steps_lower_actions_that_are_not_the_datas(rho: str) -> None:
    """Imagined rows hold -0.8 to its target as well, so that only the term can tell the two actions apart."""
    (seen, unseen), (plain_seen, plain_unseen) = (
        critics_after(200, 3e-3, rho=rho, conservative_weight=beta) for beta in (5.0, 0.0)
    )
    assert unseen < plain_unseen - 0.2
    assert seen > plain_seen + 0.2


@pytest.mark.parametrize("prior", ["uniform", "previous-prior"])
def test_a_step_moves_critics_actor_and_copy(prior: str) -> None:
    algorithm = DEFINITION.build(PROBLEM, config(prior=prior, weighting="learned"), 10)
    state = algorithm.init(KEY, data(), toys.fitted(ensemble()))
    assert algorithm.refresh is not None
    state, _ = jax.jit(algorithm.refresh)(state, data(), KEY)
    before = jax.tree.map(jnp.copy, state.learner.actor.params)
    moved, metrics = jax.jit(algorithm.update)(state, algorithm.sample(state, data(), KEY), KEY)
    assert all(np.isfinite(float(metric)) for metric in metrics.values())
    assert float(moved.log_weight.params) != 0
    if prior != "uniform":
        jax.tree.map(np.testing.assert_array_equal, moved.previous.actor, before)
        assert int(moved.previous.step) == 1


def test_branches_take_uniform_actions_where_mu_is_uniform() -> None:
    """A saturated actor would take the same action everywhere; uniform ones have mean 0 and variance 1/3."""
    algorithm = build(PROBLEM, config(rollout_policy="uniform", rollout_batch=2000, horizon=1), 10)
    state = algorithm.init(KEY, data(), toys.fitted(ensemble()))
    saturated = jax.tree.map(lambda leaf: leaf + 30.0, state.learner.actor.params)
    state = state.replace(learner=state.learner.replace(actor=state.learner.actor.replace(params=saturated)))
    assert algorithm.refresh is not None
    state, _ = algorithm.refresh(state, data(), KEY)
    actions = np.asarray(state.imagined.rows.action)[:2000]
    assert abs(actions.mean()) < 0.05
    assert actions.var() == pytest.approx(1 / 3, abs=0.03)
