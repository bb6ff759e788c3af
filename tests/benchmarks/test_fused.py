"""The ensemble's forward pass as one kernel, by interpretation: the numbers of the layers one by one."""

from functools import partial

import fused
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fused import Options, fused_layers, main, pad, padded_sizes
from jax.experimental import pallas as pl

from offline_mbrl.errors import UserError
from offline_mbrl.nn.layers import Layer, apply_layers, init_layers
from offline_mbrl.nn.precision import computing, imagining
from offline_mbrl.types import Array

INTERPRETED = partial(pl.pallas_call, interpret=True)


def test_one_row_by_hand() -> None:
    """silu(2 * 3 + 1) * 5 - 4."""
    layers = [Layer(jnp.full((1, 1, 1), weight), jnp.full((1, 1), bias)) for weight, bias in ((3.0, 1.0), (5.0, -4.0))]
    output = fused_layers(layers, jnp.full((1, 1, 1), 2.0), jnp.float32, INTERPRETED)
    np.testing.assert_allclose(output, [[[5 * 7 / (1 + np.exp(-7.0)) - 4]]], rtol=1e-6)


def test_what_is_padded_is_zero() -> None:
    assert padded_sizes([14, 200, 64, 1, 24]) == [16, 256, 64, 64, 32]
    np.testing.assert_array_equal(pad(jnp.ones((1, 1, 2)), 2, 3), [[[1, 1, 0], [0, 0, 0]]])


def case(members: int, rows: int, widths: tuple[int, ...]) -> tuple[tuple[Layer, ...], Array]:
    layers = init_layers(members, widths, jax.random.key(0))
    layers = tuple(Layer(2 * layer.weight, layer.bias + 0.1) for layer in layers)
    return layers, jax.random.normal(jax.random.key(1), (members, rows, widths[0]))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("members", "rows", "widths"),
    [(1, 1, (3, 8, 2)), (3, 131, (14, 100, 70, 24)), (2, 128, (17, 64, 64, 36)), (7, 300, (5, 65, 1))],
)
def test_in_float32_it_is_the_plain_form(members: int, rows: int, widths: tuple[int, ...]) -> None:
    layers, x = case(members, rows, widths)
    with computing("highest"):
        plain, one = apply_layers(layers, x), fused_layers(layers, x, jnp.float32, INTERPRETED)
    assert one.shape == plain.shape
    np.testing.assert_allclose(one, plain, rtol=1e-6, atol=1e-6 * float(jnp.abs(plain).max()))


@pytest.mark.medium
def test_over_seeds_too() -> None:
    layers, x = case(2, 9, (4, 20, 20, 3))
    layers, x = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]), (layers, x))
    form = partial(fused_layers, half=jnp.float32, call=INTERPRETED)
    plain = jax.vmap(apply_layers)(layers, x)
    np.testing.assert_allclose(jax.vmap(form)(layers, x), plain, rtol=1e-6, atol=1e-6 * float(jnp.abs(plain).max()))


@pytest.mark.medium
def test_in_float16_it_rounds_as_rollouts_in_mixed_precision_do() -> None:
    """A sum in another order now and then rounds to the next float16; most outputs are equal to 1e-6."""
    layers, x = case(3, 200, (14, 100, 100, 24))
    exact = apply_layers(layers, x)
    with computing("mixed"), imagining():
        plain = apply_layers(layers, x)
    one, scale = fused_layers(layers, x, call=INTERPRETED), float(exact.std())
    assert float(jnp.median(jnp.abs(one - plain))) < 0.3 * float(jnp.median(jnp.abs(plain - exact)))
    assert float(jnp.abs(one - plain).max()) < 2.0**-9 * scale < float(jnp.abs(plain).max())
    assert float(jnp.abs(plain - exact).max()) > 2.0**-13 * scale


def test_without_a_gpu_it_says_what_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(UserError, match="--described h200 compiles it for one"):
        main(Options())


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_plain_form() -> None:
    layers, x = case(3, 200, (14, 100, 100, 24))
    with computing("highest"):
        exact = apply_layers(layers, x)
    assert float(jnp.median(jnp.abs(fused.on_gpu(layers, x) - exact)) / exact.std()) < 2e-3
