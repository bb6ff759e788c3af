"""How networks are drawn: orthogonal matrices, and the defaults of the peers' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.nn.inits import ACTORS, CRITICS, Init, orthogonal
from offline_mbrl.nn.networks import GaussianActor, Params, apply, critic_ensemble, init_params
from offline_mbrl.types import Array


@pytest.mark.parametrize("shape", [(5, 5), (3, 64), (64, 3), (256, 256)])
def test_orthogonal_weights_have_all_singular_values_at_the_scale(shape: tuple[int, int]) -> None:
    drawn = jax.vmap(lambda key: orthogonal(2.0)(key, shape))(jax.random.split(jax.random.key(0), 4))
    assert drawn.shape == (4, *shape)
    np.testing.assert_allclose(np.linalg.svd(drawn, compute_uv=False), 2.0, rtol=1e-5)
    assert not np.allclose(drawn[0], drawn[1])


def test_orthogonal_weights_are_centered_and_of_equal_size() -> None:
    """Uniform among the orthogonal matrices: E w = 0 and E w^2 = 1 / n in every entry."""
    drawn = np.asarray(jax.vmap(lambda key: orthogonal(1.0)(key, (4, 4)))(jax.random.split(jax.random.key(0), 4000)))
    np.testing.assert_allclose(drawn.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(np.square(drawn).mean(axis=0), 0.25, atol=0.02)


def bound_of(drawn: Array) -> float:
    """The bound of numbers that are uniform in +-bound, to within their number's accuracy."""
    bound = float(jnp.abs(drawn).max())
    assert float(jnp.square(drawn).mean()) == pytest.approx(bound**2 / 3, rel=0.15)
    return bound


def layers(params: Params) -> list[dict[str, Array]]:
    return [params[f"Dense_{number}"] for number in range(3)]


def actor(init: Init) -> list[dict[str, Array]]:
    """Of 400 observations and 300 units."""
    module = GaussianActor((300, 300), 100, layer_init=ACTORS[init])
    return layers(init_params(module, jax.random.key(0), 400)["MLP_0"])


def critic(init: Init) -> list[dict[str, Array]]:
    """Three critics of 200 units on 250 observations and 150 actions."""
    params = init_params(critic_ensemble(3, (200, 200), CRITICS[init]), jax.random.key(0), 250, 150)
    return layers(params["MLP_0"])


def test_our_own_are_glorot_uniform_with_zero_biases() -> None:
    for drawn, sizes in ((actor("glorot"), (400, 300, 300, 200)), (critic("glorot"), (400, 200, 200, 1))):
        for place, layer in enumerate(drawn):
            expected = (6 / (sizes[place] + sizes[place + 1])) ** 0.5
            assert bound_of(layer["kernel"]) == pytest.approx(expected, rel=0.02)
            assert not layer["bias"].any()


@pytest.mark.parametrize("init", ["torch", "torch-small"])
def test_pytorch_s_layers_are_uniform_within_one_over_the_root_of_their_inputs(init: Init) -> None:
    """torch.nn.Linear(400, 300): weights and biases in +-0.05; last layers of CROP's code in +-0.003."""
    last = {"torch": 300**-0.5, "torch-small": 0.003}[init]
    for layer, bound in zip(actor(init), (0.05, 300**-0.5, last), strict=True):
        for part in ("kernel", "bias"):
            assert bound_of(layer[part]) == pytest.approx(bound, rel=0.03)


def test_rlkit_s_layers_have_a_small_last_one_and_biases_of_a_tenth() -> None:
    """Hidden layers have the bound of their inputs in a critic, of their outputs in an actor."""
    for layer, bound in zip(critic("rlkit"), (400**-0.5, 200**-0.5, 0.003), strict=True):
        assert bound_of(layer["kernel"]) == pytest.approx(bound, rel=0.03)
    for layer, bound in zip(actor("rlkit"), (300**-0.5, 300**-0.5, 0.001), strict=True):
        assert bound_of(layer["kernel"]) == pytest.approx(bound, rel=0.03)
    for layer in actor("rlkit")[:2] + critic("rlkit")[:2]:
        np.testing.assert_array_equal(layer["bias"], jnp.float32(0.1))
    assert bound_of(actor("rlkit")[2]["bias"]) == pytest.approx(0.001, rel=0.03)


def test_near_zero_last_layers_start_policies_in_the_middle_and_critics_at_zero() -> None:
    obs, action = jax.random.normal(jax.random.key(1), (50, 400)), jnp.zeros((50, 150))
    for init in ("torch-small", "rlkit"):
        module = GaussianActor((300, 300), 100, layer_init=ACTORS[init])
        mean, log_std = apply(module, init_params(module, jax.random.key(0), 400), obs)
        assert float(jnp.abs(jnp.tanh(mean)).max()) < 0.1
        assert float(jnp.abs(log_std).max()) < 0.1
        ensemble = critic_ensemble(3, (200, 200), CRITICS[init])
        params = init_params(ensemble, jax.random.key(0), 250, 150)
        assert float(jnp.abs(apply(ensemble, params, obs[:, :250], action)).max()) < 0.1
