"""Episodes in groups of equal size: by return and at random, with ties and with fewer episodes than groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import subsets
from offline_mbrl.types import Array

pytestmark = pytest.mark.medium


def episodes(returns: list[float], length: int = 3) -> tuple[Array, Array]:
    """Return of every row and its start flag, for episodes of equal length."""
    per_row = jnp.repeat(jnp.asarray(returns, jnp.float32), length)
    return per_row, jnp.arange(per_row.shape[0]) % length == 0


def test_subsets_are_groups_of_equally_many_episodes_by_return() -> None:
    keys, first = episodes([5.0, 1.0, 3.0, 2.0, 6.0, 4.0])
    thresholds = jax.jit(subsets.subset_thresholds, static_argnums=2)(keys, first, 3)
    np.testing.assert_array_equal(thresholds, [1.0, 3.0, 5.0])
    np.testing.assert_array_equal(subsets.subset_of(keys, thresholds)[::3], [2, 0, 1, 0, 2, 1])
    np.testing.assert_array_equal(subsets.subset_of(jnp.asarray([-9.0, 99.0]), thresholds), [0, 2])


def test_one_subset_holds_everything_and_few_episodes_leave_some_empty() -> None:
    keys, first = episodes([5.0, 1.0])
    assert not subsets.subset_of(keys, subsets.subset_thresholds(keys, first, 1)).any()
    group = np.asarray(subsets.subset_of(keys, subsets.subset_thresholds(keys, first, 5)))[::3]
    assert group[0] > group[1]
    tied, first = episodes([2.0, 2.0, 2.0, 7.0])
    group = np.asarray(subsets.subset_of(tied, subsets.subset_thresholds(tied, first, 4)))[::3]
    assert len(set(group[:3].tolist())) == 1
    assert group[3] > group[0]


def test_random_subsets_are_as_large_do_not_follow_the_return_and_keep_episodes_whole() -> None:
    returns, first = episodes(np.random.default_rng(0).normal(size=400).tolist())
    keys = subsets.order_key(returns, jnp.uint32(1234))
    group = np.asarray(subsets.subset_of(keys, subsets.subset_thresholds(keys, first, 4))).reshape(400, 3)
    assert (group == group[:, :1]).all()
    assert np.bincount(group[:, 0], minlength=4).tolist() == [100, 100, 100, 100]
    assert abs(np.corrcoef(group[:, 0], np.asarray(returns)[::3])[0, 1]) < 0.15
    other = subsets.order_key(returns, jnp.uint32(99))
    assert (
        np.asarray(subsets.subset_of(other, subsets.subset_thresholds(other, first, 4)))[::3] != group[:, 0]
    ).mean() > 0.5
