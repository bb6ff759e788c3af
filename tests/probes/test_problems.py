"""The probes themselves: their models are right on the data and wrong where they say, and their answers hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.dynamics.ensemble import predict
from offline_mbrl.dynamics.uncertainty import PENALTIES
from offline_mbrl.types import Array
from tests.probes.problems import Probe, mean_reward, noisy, stitch, trap


def on_data(probe: Probe) -> tuple[np.ndarray, np.ndarray]:
    """Rewards [members, n] and next states [members, n] that the members expect of the data's rows."""
    made = probe.data.transitions
    mean = np.asarray(predict(probe.ensemble, made.obs, made.action).mean)
    return mean[..., 0], np.asarray(made.obs)[:, 0] + mean[..., 1]


@pytest.mark.parametrize("make", [trap, stitch])
def test_models_are_right_on_the_data(make: object) -> None:
    probe: Probe = make()  # type: ignore[operator]
    reward, next_obs = on_data(probe)
    made = probe.data.transitions
    np.testing.assert_allclose(reward, np.tile(made.reward, (5, 1)), atol=0.03)
    np.testing.assert_allclose(
        next_obs, np.tile(np.asarray(made.next_obs)[:, 0], (5, 1)), atol=0.25 if make is trap else 0.01
    )


def test_trap_answers() -> None:
    probe = trap()
    assert mean_reward(probe, lambda obs: jnp.full_like(obs, -0.3)) == pytest.approx(1.0, abs=0.03)
    assert mean_reward(probe, lambda obs: jnp.full_like(obs, -0.5)) == pytest.approx(0.8, abs=0.03)
    assert mean_reward(probe, lambda obs: jnp.full_like(obs, 1.0)) == pytest.approx(-6.3, abs=0.03)
    unseen = predict(probe.ensemble, jnp.zeros((1, 1)), jnp.ones((1, 1)))
    np.testing.assert_allclose(unseen.mean[:, 0, 0], 5.7, atol=0.05)
    np.testing.assert_allclose(unseen.mean[:, 0, 1], np.linspace(-3, 3, 5), atol=0.05)
    assert float(unseen.std.min()) > 0.9
    seen = predict(probe.ensemble, jnp.zeros((1, 1)), jnp.full((1, 1), -0.3))
    assert float(seen.std.max()) < 0.06


def test_stitch_answers() -> None:
    probe = stitch()

    def right(obs: Array) -> Array:
        return jnp.clip(4 * (1 - obs), -1, 1)

    assert mean_reward(probe, right) == pytest.approx(-0.35, abs=0.01)
    assert mean_reward(probe, jnp.zeros_like) == pytest.approx(-2.0, abs=0.01)
    made = probe.data.transitions
    left = (np.asarray(made.obs) < -0.1)[:, 0]
    assert abs(float(np.asarray(made.action)[left].mean())) < 0.1
    ends = np.asarray(made.obs).reshape(-1, 8)
    assert not ((ends.min(axis=1) < -0.5) & (ends.max(axis=1) > 0.5)).any()


def test_noisy_answers() -> None:
    probe = noisy()
    prediction = predict(probe.ensemble, *probe.data.transitions[:2])
    next_obs = np.asarray(probe.data.transitions.obs)[:, 0] + np.asarray(prediction.mean)[..., 1]
    np.testing.assert_allclose(next_obs, np.tile(np.linspace(-1, 1, 5)[:, None], (1, 1000)), atol=0.02)
    u = PENALTIES["max_pair"].measure(prediction, jnp.zeros(1000, jnp.int32))
    np.testing.assert_allclose(u, 2.0, atol=0.02)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(probe.data))
