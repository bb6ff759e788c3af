"""Fitted ensembles are kept once for each seed and reused by whoever asks for the same fit."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.dynamics import store
from offline_mbrl.dynamics.ensemble import EnsembleConfig
from offline_mbrl.dynamics.fit import Fit, Report, fit_shape
from offline_mbrl.dynamics.store import fit_id, load_or_fit, seed_keys
from offline_mbrl.types import Key, Transition

CONFIG = EnsembleConfig(members=2, elites=1, hidden=(4,), weight_decay=(0.0, 0.0))
ROWS = Transition(jnp.zeros((10, 3)), jnp.zeros((10, 2)), jnp.zeros(10), jnp.ones(10), jnp.zeros((10, 3)))


def test_the_name_depends_on_everything_that_can_move_a_fit() -> None:
    base = fit_id(CONFIG, "hopper-medium", "abc", "default", "cpu")
    others = [
        fit_id(CONFIG.model_copy(update={"learning_rate": 2e-3}), "hopper-medium", "abc", "default", "cpu"),
        fit_id(CONFIG, "hopper-random", "abc", "default", "cpu"),
        fit_id(CONFIG, "hopper-medium", "abd", "default", "cpu"),
        fit_id(CONFIG, "hopper-medium", "abc", "highest", "cpu"),
        fit_id(CONFIG, "hopper-medium", "abc", "default", "gpu"),
    ]
    assert len({base, *others}) == 6
    assert base == fit_id(EnsembleConfig(**CONFIG.model_dump()), "hopper-medium", "abc", "default", "cpu")


def test_keys_belong_to_seeds_and_not_to_places() -> None:

    def data(seeds: list[int] | tuple[int, ...]) -> np.ndarray:
        return np.asarray(jax.random.key_data(seed_keys(seeds)))

    np.testing.assert_array_equal(data((3, 1))[0], data((3,))[0])
    np.testing.assert_array_equal(data((3, 1))[1], data([1])[0])
    assert (data((0,)) != data((1,))).any()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces training by a stub whose fit carries its key; how many seeds each call fitted."""
    made: list[int] = []

    def stub(config: EnsembleConfig, rows: Transition, keys: Key, report: Report) -> Fit:
        made.append(keys.shape[0])
        label = jax.random.key_data(keys)[:, 0].astype(jnp.float32)
        fill = lambda shape: jnp.ones((keys.shape[0], *shape.shape), shape.dtype)  # noqa: E731
        fits: Fit = jax.tree.map(fill, fit_shape(config, 3, 2))
        return fits.replace(holdout_mse=label[:, None] * jnp.ones(2))

    monkeypatch.setattr(store, "fit", stub)
    return made


def test_only_missing_seeds_are_fitted_and_the_order_is_kept(tmp_path: Path, calls: list[int]) -> None:
    expected = np.asarray(jax.random.key_data(seed_keys((7, 0, 2)))[:, 0].astype(jnp.float32))
    load_or_fit(tmp_path, CONFIG, ROWS, (0, 7))
    assert calls == [2]
    found = load_or_fit(tmp_path, CONFIG, ROWS, (7, 0, 2))
    assert calls == [2, 1]
    np.testing.assert_array_equal(found.holdout_mse[:, 0], expected)
    again = load_or_fit(tmp_path, CONFIG, ROWS, (2,))
    assert calls == [2, 1]
    np.testing.assert_array_equal(again.holdout_mse[0, 0], expected[2])


def test_a_damaged_fit_is_made_again_with_a_warning(
    tmp_path: Path, calls: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = load_or_fit(tmp_path, CONFIG, ROWS, (0, 1))
    array = max((tmp_path / "seeds" / "1").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    content = bytearray(array.read_bytes())
    content[len(content) // 2] ^= 1
    array.write_bytes(content)
    again = load_or_fit(tmp_path, CONFIG, ROWS, (0, 1))
    assert calls == [2, 1]
    assert "seeds/1 is damaged (its digest does not hold) and set aside" in capsys.readouterr().err
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(left, right)
