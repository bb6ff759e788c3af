"""MOReL's disagreement, its threshold, and where it halts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.presets import preset_names, resolve
from offline_mbrl.algorithms.systems import morel
from offline_mbrl.algorithms.systems.morel import (
    DEFINITION,
    MOReLConfig,
    data_disagreement,
    disagreement,
    find_threshold,
    halting_model,
)
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian, only_elites, predict
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.tasks import TASKS
from offline_mbrl.types import Data, Problem, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: obs[..., 0] > 100)
KEY = jax.random.key(2)


def config(**settings: object) -> MOReLConfig:
    base = {"hidden": (4,), "batch_size": 4, "rollout_batch": 8, "horizon": 3, "real_ratio": 0.5}
    return MOReLConfig.model_validate(base | settings)


def ensemble(spread: float = 1.0) -> Ensemble:
    """Three noiseless members, reward 1: s' - s = (0, 0), (0, 9) and (spread * a, 0); the second is no elite.

    The inputs' standard deviations are 2 and 5 for the state and 1 for the action.
    """
    constant = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.0, 9.0], [1.0, 0.0, 0.0]])
    world = toys.linear_world(jnp.zeros((3, 3, 3)).at[2, 2, 1].set(spread), constant, elites=(0, 2))
    return world.replace(inputs=Normalizer(jnp.zeros(3), jnp.array([2.0, 5.0, 1.0])))


def rows(count: int = 25) -> Transition:
    action = jnp.linspace(-1.0, 1.0, count)[:, None]
    obs = jnp.zeros((count, 2))
    return Transition(obs, action, jnp.arange(float(count)) - 3.0, jnp.ones(count), obs)


def data(count: int = 25) -> Data:
    return toys.data_of(rows(count))


def test_disagreement_by_hand() -> None:
    # Two members and two rows; the reward, first, is not part of it.
    mean = jnp.array([[[9.0, 0.0, 0.0], [9.0, 1.0, 1.0]], [[0.0, 3.0, 4.0], [0.0, 1.0, 1.0]]])
    prediction = Gaussian(mean, jnp.ones_like(mean))
    np.testing.assert_allclose(disagreement(prediction, jnp.ones(2)), [5.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(disagreement(prediction, jnp.array([3.0, 2.0])), [5**0.5, 0.0], rtol=1e-6)


def test_members_that_are_no_elites_do_not_count() -> None:
    elites = only_elites(ensemble(0.0))
    batch = rows()
    np.testing.assert_array_equal(disagreement(predict(elites, batch.obs, batch.action), jnp.ones(2)), 0.0)
    assert elites.weights.layers[0].bias.shape[0] == 2
    np.testing.assert_array_equal(elites.elites, [0, 1])


def test_the_data_go_through_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(morel, "CHUNK", 10)
    found = data_disagreement(only_elites(ensemble()), rows(25), jnp.array([2.0, 5.0]))
    np.testing.assert_allclose(found, np.abs(np.linspace(-1, 1, 25)) / 2, atol=1e-6)


def test_thresholds() -> None:
    values = jnp.array([1.0, 2.0, 3.0, 10.0])
    assert float(find_threshold(config(threshold_rule="mean_std", threshold_scale=2.0), values)) == pytest.approx(
        4 + 2 * np.std([1, 2, 3, 10])
    )
    quantile = config(threshold_rule="quantile", threshold_quantile=0.5)
    assert float(find_threshold(quantile, values)) == pytest.approx(2.5)


def test_fewer_rows_are_unknown_under_a_larger_threshold() -> None:
    values = jnp.square(jax.random.normal(KEY, (500,)))
    rules = [config(threshold_rule="mean_std", threshold_scale=k) for k in (0.0, 0.5, 1.0, 2.0)]
    shares = [float((values > find_threshold(rule, values)).mean()) for rule in rules]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1] > 0


def test_it_halts_where_the_members_disagree_and_nowhere_else() -> None:
    model = halting_model(
        only_elites(ensemble()), PROBLEM.terminates, jnp.ones(2), jnp.asarray(0.5), jnp.asarray(-53.0)
    )
    action = jnp.array([[0.0], [0.49], [-0.49], [0.51], [-1.0]])
    step = jax.jit(model)(jnp.zeros((5, 2)), action, KEY)
    unknown = np.array([False, False, False, True, True])
    np.testing.assert_array_equal(step.discount == 0, unknown)
    np.testing.assert_array_equal(step.reward == -53.0, unknown)
    np.testing.assert_allclose(step.reward[:3], 1.0, atol=1e-4)
    np.testing.assert_allclose(step.uncertainty, jnp.abs(action[:, 0]), atol=1e-6)


def test_known_steps_keep_the_tasks_own_termination() -> None:
    model = halting_model(
        only_elites(ensemble(0.0)), PROBLEM.terminates, jnp.ones(2), jnp.asarray(0.5), jnp.asarray(-53.0)
    )
    step = model(jnp.array([[0.0, 0.0], [200.0, 0.0]]), jnp.zeros((2, 1)), KEY)
    np.testing.assert_array_equal(step.discount, [1.0, 0.0])
    np.testing.assert_allclose(step.reward, 1.0, atol=1e-4)


def test_a_run_imagines_in_the_pessimistic_mdp() -> None:
    settings = config(threshold_rule="mean_std", threshold_scale=0.0, halt_penalty=50.0)
    algorithm = DEFINITION.build(PROBLEM, settings, 10)
    state = algorithm.init(KEY, data(), toys.fitted(ensemble()))
    # |a| / 2 over the data has mean 0.26: half of a uniform choice of actions is unknown.
    assert float(state.threshold) == pytest.approx(0.26, abs=1e-3)
    np.testing.assert_array_equal(state.scale, [2.0, 5.0])
    assert float(state.halt_reward) == -53.0
    assert algorithm.refresh is not None
    state, metrics = jax.jit(algorithm.refresh)(state, data(), KEY)
    written = jax.tree.map(lambda leaf: np.asarray(leaf[: int(state.imagined.size)]), state.imagined.rows)
    halted = np.abs(written.action[:, 0]) / 2 > 0.26
    np.testing.assert_array_equal(written.discount == 0, halted)
    np.testing.assert_array_equal(written.reward == -53.0, halted)
    assert float(metrics["halted"]) == pytest.approx(halted.mean(), abs=1e-6)


def test_the_planner_is_named() -> None:
    assert "SAC planner" in DEFINITION.title


def test_raw_units_are_an_option() -> None:
    build = DEFINITION.build(PROBLEM, config(disagreement_units="raw"), 10)
    np.testing.assert_array_equal(build.init(KEY, data(), toys.fitted(ensemble())).scale, [1.0, 1.0])


@pytest.mark.parametrize("preset", [None, *preset_names("morel")])
def test_every_preset_resolves_on_every_task(preset: str | None) -> None:
    for task in TASKS:
        resolved = resolve(DEFINITION, task, preset)
        assert isinstance(resolved.config, MOReLConfig)
        assert set(resolved.sources) >= {"threshold_rule", "halt_penalty"}


def test_a_run_whose_threshold_hardly_acts_says_so() -> None:
    doubt = morel.caution({"halted": 0.0004})
    assert doubt is not None
    assert "halted 0.04 % of imagined steps" in doubt
    assert morel.caution({"halted": 0.02}) is None
