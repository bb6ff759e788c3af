"""Kinds of world models: what every kind must do, and what the deterministic one is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.ensemble import draw, predict, predict_random_elite
from offline_mbrl.dynamics.fit import Fit
from offline_mbrl.dynamics.models import deterministic, gaussian
from offline_mbrl.dynamics.models.deterministic import DeterministicConfig, Weights
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.dynamics.registry import get_kind, kinds, pretraining_of
from offline_mbrl.dynamics.uncertainty import PENALTIES
from offline_mbrl.errors import UserError
from offline_mbrl.nn.layers import Layer
from offline_mbrl.pretraining.fit import fit
from offline_mbrl.types import Array, Data, Problem, Transition


def never(obs: Array) -> Array:
    return jnp.zeros(obs.shape[:-1], bool)


PROBLEM = Problem(2, 1, never)
SMALL = {
    "members": 3,
    "elites": 2,
    "hidden": (16,),
    "weight_decay": (0.0, 0.0),
    "batch_size": 32,
    "max_epochs": 20,
    "learning_rate": 1e-2,
}


def data(count: int = 400) -> Data:
    """s' = s + (a, -0.5 s_1) and r = s_0, without noise."""
    generator = np.random.default_rng(0)
    obs, action = generator.normal(size=(count, 2)), generator.uniform(-1, 1, (count, 1))
    change = np.column_stack([action[:, 0], -0.5 * obs[:, 1]])
    columns = (obs, action, obs[:, 0], np.ones(count), obs + change)
    rows = Transition(*(jnp.asarray(column, jnp.float32) for column in columns))
    return Data(rows, jnp.zeros(count), jnp.arange(count) == 0, jnp.arange(count) < count - 1)


def fits(kind: str) -> Fit:
    config = get_kind(kind).config.model_validate(SMALL)
    result: Fit = fit(pretraining_of(config, 2, 1), data(), jax.random.split(jax.random.key(0), 2))
    return result


@pytest.mark.medium
@pytest.mark.parametrize("kind", list(kinds()))
def test_every_kind_learns_a_system_and_can_be_sampled(kind: str) -> None:
    result, rows = fits(kind), data().transitions
    mean, std = jax.vmap(predict, in_axes=(0, None, None))(result.ensemble, rows.obs, rows.action)
    y = np.concatenate([rows.reward[:, None], rows.next_obs - rows.obs], axis=1)
    assert np.square(np.asarray(mean) - y).mean() < 0.1 * np.square(y).mean()
    assert mean.shape == std.shape == (2, 3, 400, 3)
    one = jax.tree.map(lambda leaf: leaf[0], result.ensemble)
    elite = predict_random_elite(one, rows.obs, rows.action, jax.random.key(1))
    member = np.asarray(mean[0])[np.asarray(one.elites)]
    assert np.isclose(elite.mean, member, atol=1e-5).all(axis=2).any(axis=0).all()


def test_a_deterministic_step_is_its_mean_and_only_disagreement_penalizes() -> None:
    bias = jnp.array([[1.0, 1.0, 0.0], [1.0, 4.0, 4.0]])  # two members whose states differ by (3, 4)
    prediction = Weights((Layer(jnp.zeros((2, 3, 3)), bias),)).predict(jnp.zeros((2, 1, 3)))
    assert not np.asarray(prediction.std).any()
    np.testing.assert_array_equal(draw(prediction, jax.random.key(0)), prediction.mean)
    member = jnp.zeros(1, jnp.int32)
    values = {name: float(penalty(prediction, member, prediction.mean[0])[0]) for name, penalty in PENALTIES.items()}
    assert values["max_pair"] == pytest.approx(5.0)
    assert values["max_center"] == pytest.approx(2.5)
    assert [name for name, value in values.items() if not value > 0] == [n for n, p in PENALTIES.items() if p.noise]


def test_least_squares_by_hand() -> None:
    config = DeterministicConfig(members=2, elites=1, hidden=(), weight_decay=(0.5,))
    weights = Weights((Layer(jnp.array([[[1.0, 2.0]], [[0.0, 1.0]]]), jnp.zeros((2, 2))),))
    x, y = jnp.array([[[1.0], [2.0]], [[1.0], [3.0]]]), jnp.zeros((2, 2, 2))
    # member 0: outputs (1, 2), (2, 4): mean square 25 / 4; member 1: (0, 1), (0, 3): 10 / 4; decay 0.25 (1 + 4 + 1)
    assert float(deterministic.loss(config, weights, x, y)) == pytest.approx(25 / 4 + 10 / 4 + 1.5)


def test_mopo_on_a_deterministic_model_needs_a_penalty_that_means_something() -> None:
    mopo = get_definition("mopo")
    resolved = resolve(mopo, "hopper-medium", overrides={"dynamics.kind": "deterministic", "penalty": "max_pair"})
    dynamics: EnsembleConfig = getattr(resolved.config, "dynamics")  # noqa: B009
    assert isinstance(dynamics, DeterministicConfig)
    assert dynamics.members == GaussianConfig().members
    wrong = resolve(mopo, "hopper-medium", overrides={"dynamics": {"kind": "deterministic"}}).config
    with pytest.raises(UserError, match=r"max_aleatoric means nothing for a deterministic model.*choose max_pair"):
        mopo.build(PROBLEM, wrong, 100)


def test_an_unknown_kind_and_a_foreign_setting_are_named() -> None:
    mopo = get_definition("mopo")
    with pytest.raises(UserError, match="unknown kind of dynamics model 'gausian'; did you mean 'gaussian'"):
        resolve(mopo, "hopper-medium", overrides={"dynamics.kind": "gausian"})
    with pytest.raises(UserError, match="logvar_penalty"):
        resolve(mopo, "hopper-medium", overrides={"dynamics.kind": "deterministic", "dynamics.logvar_penalty": 0.1})


def test_the_two_kinds_share_their_contract() -> None:
    for module in (gaussian, deterministic):
        assert module.MODEL.config.model_fields["kind"].default == module.__name__.rpartition(".")[2]
