"""Fits are kept once for each seed, reused by whoever asks for the same one, and go on where they were stopped."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.config import Config
from offline_mbrl.pretraining.contract import Pretraining, Progress
from offline_mbrl.pretraining.fit import fit, seed_keys
from offline_mbrl.pretraining.store import fit_id, load_or_fit
from offline_mbrl.types import Array, Data, Key, Transition

ROWS = 4


class CountConfig(Config):
    """How many epochs to count."""

    epochs: int = 3


class Counter(NamedTuple):
    """A sum of what the epochs drew."""

    total: Array
    epochs: Array


def data() -> Data:
    rows = Transition(jnp.ones((ROWS, 3)), jnp.zeros((ROWS, 2)), jnp.zeros(ROWS), jnp.ones(ROWS), jnp.zeros((ROWS, 3)))
    return Data(rows, jnp.zeros(ROWS), jnp.arange(ROWS) == 0, jnp.arange(ROWS) < ROWS - 1)


def start(key: Key, data: Data) -> tuple[Array, Counter]:
    return jax.random.uniform(key), Counter(jnp.zeros(()), jnp.zeros((), jnp.int32))


def epoch(config: CountConfig, fixed: Array, state: Counter, data: Data, key: Key) -> Counter:
    drawn = fixed + jax.random.uniform(jax.random.fold_in(key, state.epochs)) + data.transitions.obs.sum()
    after = Counter(state.total + drawn, state.epochs + 1)
    return jax.tree.map(partial(jnp.where, active(config, state)), after, state)


def active(config: CountConfig, state: Counter) -> Array:
    return state.epochs < config.epochs


def counting(epochs: int = 3) -> Pretraining:
    """A fit that sums draws: its result tells which epochs were made, with which key."""
    config = CountConfig(epochs=epochs)
    return Pretraining(
        config=config,
        version=1,
        streams=("fit",),
        start=start,
        epoch=partial(epoch, config),
        active=partial(active, config),
        finish=lambda fixed, state: state,
        progress=lambda state: Progress(state.epochs, state.total),
        measure="total",
        max_epochs=epochs,
    )


def test_the_name_depends_on_everything_that_can_move_a_fit() -> None:
    base = fit_id(counting(), "hopper-medium", "abc", "default", "cpu")
    others = [
        fit_id(counting(4), "hopper-medium", "abc", "default", "cpu"),
        fit_id(counting(), "hopper-random", "abc", "default", "cpu"),
        fit_id(counting(), "hopper-medium", "abd", "default", "cpu"),
        fit_id(counting(), "hopper-medium", "abc", "highest", "cpu"),
        fit_id(counting(), "hopper-medium", "abc", "default", "gpu"),
    ]
    assert len({base, *others}) == 6
    assert base == fit_id(counting(), "hopper-medium", "abc", "default", "cpu")


def test_keys_belong_to_seeds_and_not_to_places() -> None:
    def keys(seeds: list[int]) -> np.ndarray:
        return np.asarray(jax.random.key_data(seed_keys(counting(), seeds)))

    np.testing.assert_array_equal(keys([3, 1])[0], keys([3])[0])
    np.testing.assert_array_equal(keys([3, 1])[1], keys([1])[0])
    assert (keys([0]) != keys([1])).any()


def fitted(seeds: list[int]) -> np.ndarray:
    return np.asarray(fit(counting(), data(), seed_keys(counting(), seeds)).total)


def test_only_missing_seeds_are_fitted_and_the_order_is_kept(tmp_path: Path) -> None:
    epochs: list[int] = []

    def report(state: Any, now: Progress) -> None:
        epochs.append(now.epochs.shape[0])

    load_or_fit(tmp_path, counting(), data(), (0, 7), report)
    assert epochs == [2, 2, 2]
    results = load_or_fit(tmp_path, counting(), data(), (7, 0, 2), report)
    assert epochs == [2, 2, 2, 1, 1, 1]
    np.testing.assert_array_equal(results.total, fitted([7, 0, 2]))
    load_or_fit(tmp_path, counting(), data(), (2,), report)
    assert len(epochs) == 6
    assert not (tmp_path / "in_progress" / "0-7").exists()


class StoppedError(Exception):
    """What a test stops a fit with."""


def test_a_stopped_fit_goes_on_where_it_was_and_ends_bit_equal(tmp_path: Path) -> None:
    epochs: list[int] = []

    def stop_after_two(state: Any, now: Progress) -> None:
        epochs.append(int(now.epochs.max()))
        if len(epochs) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        load_or_fit(tmp_path, counting(), data(), (0, 1), stop_after_two, save_every=0.0)
    results = load_or_fit(tmp_path, counting(), data(), (0, 1), stop_after_two, save_every=0.0)
    assert epochs == [1, 2, 3]
    np.testing.assert_array_equal(results.total, fitted([0, 1]))


def test_a_damaged_fit_is_made_again_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = load_or_fit(tmp_path, counting(), data(), (0,))
    for file in (tmp_path / "seeds" / "0").rglob("*"):
        if file.is_file() and file.stat().st_size:
            file.write_bytes(b"x" * file.stat().st_size)
    again = load_or_fit(tmp_path, counting(), data(), (0,))
    np.testing.assert_array_equal(again.total, before.total)
    assert "is damaged" in capsys.readouterr().err
