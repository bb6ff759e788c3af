from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.storage.checkpoint import Checkpoints

pytestmark = pytest.mark.medium


def tree() -> dict[str, object]:
    params = {"w": jnp.arange(6.0).reshape(2, 3), "count": jnp.asarray(3, jnp.int32)}
    return {
        "params": params,
        "opt": optax.adam(1e-3).init(params),
        "half": jnp.ones(3, jnp.bfloat16),
        "keys": jax.random.split(jax.random.key(7), 2),
    }


def test_typed_keys_optimizer_state_and_types_come_back_exactly(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, tree())
    restored = Checkpoints(tmp_path).restore(5, tree())
    assert str(jax.tree.structure(restored)) == str(jax.tree.structure(tree()))
    for left, right in zip(jax.tree.leaves(restored), jax.tree.leaves(tree()), strict=True):
        assert left.dtype == right.dtype
        if jnp.issubdtype(left.dtype, jax.dtypes.prng_key):
            left, right = jax.random.key_data(left), jax.random.key_data(right)
        np.testing.assert_array_equal(left, right)


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, {"x": jnp.full(2, step)})
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.latest_step() == 3


def test_what_a_kill_left_behind_is_not_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.ones(2)})
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    assert Checkpoints(tmp_path).latest_step() == 1


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, {"x": jnp.ones(2)})
    with pytest.raises(UserError, match="cannot be read"):
        Checkpoints(tmp_path).restore(1, {"x": jnp.ones(2), "y": jnp.ones(2)})
    with pytest.raises(UserError, match="cannot be read"):
        Checkpoints(tmp_path).restore(1, {"x": jnp.ones(3)})
