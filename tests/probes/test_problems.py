"""The problems themselves: their models are right on the data and wrong where they say, and their answers hold."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.dynamics.ensemble import predict
from offline_mbrl.dynamics.uncertainty import PENALTIES
from offline_mbrl.nn.normalizer import Normalizer
from tests.probes.problems import OPINIONS, Numbers, Probe, mean_reward, noisy, ridge, standardized, stitch, trap


def on_data(probe: Probe) -> tuple[Numbers, Numbers]:
    """Rewards [members, n] and next states [members, n] that the members expect of the data's rows."""
    assert probe.ensemble is not None
    made = probe.data.transitions
    mean = np.asarray(predict(probe.ensemble, made.obs, made.action).mean)
    return mean[..., 0], np.asarray(made.obs)[:, 0] + mean[..., 1]


def at(probe: Probe, action: float) -> tuple[Numbers, Numbers]:
    """Means [members, 2] and deviations [members, 2] at s = 0."""
    assert probe.ensemble is not None
    prediction = predict(probe.ensemble, jnp.zeros((1, 1)), jnp.full((1, 1), action))
    return np.asarray(prediction.mean)[:, 0], np.asarray(prediction.std)[:, 0]


def always(*action: float) -> Callable[[Numbers], Numbers]:
    return lambda obs: np.broadcast_to(np.array(action), (*obs.shape, len(action)))


@pytest.mark.parametrize(("make", "noise"), [(trap, 0.25), (stitch, 0.01)])
def test_models_are_right_on_the_data(make: Callable[[], Probe], noise: float) -> None:
    probe = make()
    reward, next_obs = on_data(probe)
    made = probe.data.transitions
    np.testing.assert_allclose(reward, np.tile(made.reward, (5, 1)), atol=0.03)
    np.testing.assert_allclose(next_obs, np.tile(np.asarray(made.next_obs)[:, 0], (5, 1)), atol=noise)


@pytest.mark.parametrize(("action", "worth"), [(0.0, 1.0), (-0.5, 0.5), (1.0, -5.0)])
def test_trap_answers(action: float, worth: float) -> None:
    assert mean_reward(trap(), always(action)) == pytest.approx(worth, abs=0.03)


def test_trap_promises_more_where_its_members_disagree() -> None:
    mean, std = at(trap(), 1.0)
    np.testing.assert_allclose(mean[:, 0], 2.0, atol=0.05)
    np.testing.assert_allclose(mean[:, 1], 3 * 1.02 * np.array(OPINIONS), atol=0.05)
    assert std.min() > 0.9
    mean, std = at(trap(), -0.3)
    np.testing.assert_allclose(mean[:, 0], 0.7, atol=0.02)
    assert np.ptp(mean[:, 1]) < 0.06
    assert std.max() < 0.06


def test_trap_acts_about_a_level_of_its_own_in_every_episode() -> None:
    actions = np.asarray(trap().data.transitions.action).reshape(80, 20)
    assert actions.max() < 0
    assert np.ptp(actions, axis=1).max() < 0.2
    assert actions.mean() == pytest.approx(-0.5, abs=0.01)


def test_stitch_answers() -> None:
    assert mean_reward(stitch(), always(1.0)) == pytest.approx(-0.35, abs=0.01)
    assert mean_reward(stitch(), always(0.0)) == pytest.approx(-2.0, abs=0.01)
    made = stitch().data.transitions
    left = (np.asarray(made.obs) < -0.1)[:, 0]
    assert abs(float(np.asarray(made.action)[left].mean())) < 0.1
    visited = np.asarray(made.obs).reshape(-1, 8)
    assert not ((visited.min(axis=1) < -0.5) & (visited.max(axis=1) > 0.5)).any()


def test_noisy_answers() -> None:
    probe = noisy()
    assert probe.ensemble is not None
    _, next_obs = on_data(probe)
    np.testing.assert_allclose(next_obs, np.tile(np.array(OPINIONS)[:, None], (1, 1600)), atol=0.02)
    prediction = predict(probe.ensemble, *probe.data.transitions[:2])
    np.testing.assert_allclose(PENALTIES["max_pair"].measure(prediction, jnp.zeros(1600, jnp.int32)), 2.0, atol=0.02)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(probe.data))


def test_ridge_answers() -> None:
    assert mean_reward(ridge(), always(0.3, 0.0)) == pytest.approx(1.0, abs=0.03)
    assert mean_reward(ridge(), always(0.3, 1.0)) == pytest.approx(-5.0, abs=0.03)
    assert float(ridge().data.transitions.reward.mean()) == pytest.approx(0.42, abs=0.03)


def test_a_standardized_model_is_the_same_model() -> None:
    probe = trap()
    assert probe.ensemble is not None
    made, scale = probe.data.transitions, Normalizer.fit(probe.data.transitions.obs)
    raw = predict(probe.ensemble, made.obs, made.action)
    scaled = predict(standardized(probe.ensemble, scale), scale.apply(made.obs), made.action)
    unit = np.array([1.0, float(scale.std[0])])
    np.testing.assert_allclose(scaled.mean * unit, raw.mean, atol=1e-4)
    np.testing.assert_allclose(scaled.std * unit, raw.std, rtol=1e-3)
