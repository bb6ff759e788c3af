import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.storage.digest import DIGEST, folder_digest
from tests.damage import flip_a_bit

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


def test_a_checkpoint_can_be_written_again(tmp_path: Path) -> None:
    for value in (1, 2):
        checkpoints = Checkpoints(tmp_path, keep=1)
        checkpoints.save(7, {"x": jnp.full(2, value)})
        checkpoints.save(7, {"x": jnp.full(2, 10 * value)})
        assert checkpoints.latest_step() == 7
        np.testing.assert_array_equal(checkpoints.restore(7, {"x": jnp.zeros(2, int)})["x"], [10 * value] * 2)


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


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def made(folder: Path) -> Path:
    """A folder with checkpoints of steps 1 and 2."""
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.full(50, step), "key": jax.random.key(step)})
    checkpoints.close()
    return folder


def falls_back(folder: Path) -> None:
    """The second checkpoint is damaged: the first takes its place, and a new second one can be written."""
    found = Checkpoints(folder)
    assert found.latest_step() == 1
    np.testing.assert_array_equal(found.restore(1, {"x": jnp.zeros(50), "key": jax.random.key(0)})["x"], np.ones(50))
    assert not found.is_sound(2)
    found.save(2, {"x": jnp.full(50, 2), "key": jax.random.key(2)})  # as the run does that goes on from there
    assert found.latest_step() == 2


def test_a_flipped_bit_in_any_file_makes_the_one_before_take_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, generator = made(tmp_path / "made"), np.random.default_rng(0)
    for number, file in enumerate(files_of(source / "2")):
        folder = tmp_path / str(number)
        shutil.copytree(source, folder)
        flip_a_bit(folder / file.relative_to(source), generator)
        falls_back(folder)
        first, second = capsys.readouterr().err.splitlines()
        assert first.endswith("2 is damaged (its digest does not hold) and set aside as damaged-2")
        assert second == "warning: going on from step 1, the checkpoint before it"


@pytest.mark.slow
def test_a_hundred_flipped_bits_are_all_noticed(tmp_path: Path) -> None:
    source, generator = made(tmp_path / "made"), np.random.default_rng(1)
    files = files_of(source / "2")
    for number in range(100):
        folder = tmp_path / str(number)
        shutil.copytree(source, folder)
        flip_a_bit(folder / files[generator.integers(len(files))].relative_to(source), generator)
        falls_back(folder)
        shutil.rmtree(folder)


def test_a_run_whose_every_checkpoint_is_damaged_does_not_begin_anew_by_itself(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, {"x": jnp.ones(2)})
    flip_a_bit(tmp_path / "1" / DIGEST, np.random.default_rng(0))
    for _ in range(2):
        with pytest.raises(UserError, match=r"every checkpoint in .* is damaged; remove that folder"):
            Checkpoints(tmp_path).latest_step()


def test_a_checkpoint_without_a_digest_is_taken_as_it_is(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, {"x": jnp.ones(2)})
    (tmp_path / "1" / DIGEST).unlink()
    assert Checkpoints(tmp_path).latest_step() == 1


def test_a_digest_moves_with_every_name_and_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    digests = {folder_digest(tmp_path)}
    (tmp_path / "a").rename(tmp_path / "b")
    digests.add(folder_digest(tmp_path))
    (tmp_path / "b").write_text("y")
    digests.add(folder_digest(tmp_path))
    (tmp_path / "c").touch()
    digests.add(folder_digest(tmp_path))
    assert len(digests) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_a_refused_write_is_the_systems_error_and_leaves_nothing_half_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands in for a full disk: TensorStore reports both in the same words."""
    import resource

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.ones(2)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            checkpoints.save(2, {"x": jnp.asarray(np.random.default_rng(0).random(20_000))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]
    assert "Traceback" not in capfd.readouterr().err
    assert Checkpoints(tmp_path).latest_step() == 1
