import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.nn.normalizer import Normalizer

X = jnp.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])


def test_fit_gives_population_moments_and_leaves_constants_unscaled() -> None:
    normalizer = Normalizer.fit(X)
    np.testing.assert_allclose(normalizer.mean, [2, 20, 5])
    np.testing.assert_allclose(normalizer.std, [1, 10, 1])
    np.testing.assert_allclose(normalizer.apply(X), [[-1, -1, 0], [1, 1, 0]])


def test_a_margin_widens_every_deviation() -> None:
    normalizer = Normalizer.fit(X, margin=0.5)
    np.testing.assert_allclose(normalizer.std, [1.5, 10.5, 0.5])
    np.testing.assert_allclose(normalizer.mean, [2, 20, 5])


def test_a_constant_whose_mean_is_rounded_is_not_blown_up() -> None:
    column = jnp.full((100_003, 1), 0.1)
    assert abs(Normalizer.fit(column).apply(column)).max() < 1e-3


def test_invert_undoes_apply_inside_jit_and_vmap() -> None:
    normalizer = jax.vmap(Normalizer.fit)(jnp.stack([X, 2 * X]))
    there_and_back = jax.jit(jax.vmap(lambda n, x: n.invert(n.apply(x))))
    np.testing.assert_allclose(there_and_back(normalizer, jnp.stack([X, X])), jnp.stack([X, X]), rtol=1e-6)
