from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.nn.plain import Dense, PlainActor, Policy, forward, read_policy_file, with_context, with_normalizer


def dense(kernel: list[list[float]], bias: list[float]) -> Dense:
    return Dense(np.array(kernel, np.float32), np.array(bias, np.float32))


HIDDEN, OUT = dense([[1.0, -1.0], [2.0, 0.0]], [0.0, 1.0]), dense([[1.0, 0.0], [0.5, -1.0]], [0.0, 0.5])
OBS = np.array([[1.0, 1.0], [-1.0, 0.0]], np.float32)


def test_an_mlp_is_computed_as_by_hand() -> None:
    """[1, 1]: relu(3, 0) -> (3, 0.5); [-1, 0]: relu(-1, 2) = (0, 2) -> (1, -1.5)."""
    np.testing.assert_allclose(forward([HIDDEN, OUT], OBS), [[3.0, 0.5], [1.0, -1.5]])


def test_a_squashed_policy_has_means_and_log_deviations_in_its_last_layer() -> None:
    actor = PlainActor((HIDDEN, OUT), "squashed")
    assert actor.action_dim == 1
    np.testing.assert_allclose(actor.act(OBS), np.tanh([[3.0], [1.0]]), rtol=1e-6)
    drawn = actor.act(OBS, np.random.default_rng(0))
    noise = np.random.default_rng(0).standard_normal((2, 1), np.float32)
    np.testing.assert_allclose(drawn, np.tanh([[3.0], [1.0]] + np.exp([[0.5], [-1.5]]) * noise), rtol=1e-5)


def test_added_noise_is_clipped_to_the_box() -> None:
    actor = PlainActor((HIDDEN, OUT), "added", np.zeros(2, np.float32))
    drawn = actor.act(np.repeat(OBS, 50, axis=0), np.random.default_rng(0))
    assert drawn.max() == 1
    assert drawn.min() == -1


def test_a_normalizer_becomes_part_of_the_first_layer() -> None:
    mean, std = np.array([3.0, -1.0]), np.array([2.0, 0.5])
    folded = with_normalizer([HIDDEN, OUT], mean, std)
    np.testing.assert_allclose(forward(folded, OBS), forward([HIDDEN, OUT], (OBS - mean) / std), rtol=1e-6)


def test_a_context_becomes_part_of_the_first_bias() -> None:
    folded = with_context([HIDDEN, OUT], [7.0])
    with_seven = np.array([[1.0, 7.0], [-1.0, 7.0]])
    np.testing.assert_allclose(forward(folded, OBS[:, :1]), forward([HIDDEN, OUT], with_seven), rtol=1e-6)


def test_a_file_gives_back_what_was_written_and_holds_no_pickle(tmp_path: Path) -> None:
    log_std = np.array([0.1, 0.2], np.float32)
    Policy(PlainActor((HIDDEN, OUT), "added", log_std, (-3.0, 1.0)), {"task": "own"}).save(tmp_path / "p.npz")
    back = read_policy_file(tmp_path / "p.npz")
    assert back.about == {"task": "own"}
    assert back.actor.log_std_bounds == (-3.0, 1.0)
    np.testing.assert_array_equal(back(OBS), np.tanh(forward([HIDDEN, OUT], OBS)))
    np.testing.assert_array_equal(back(OBS[0]), back(OBS)[0])
    with np.load(tmp_path / "p.npz", allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays.files} <= {"f", "u"}


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04"])
def test_another_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read a policy from .*p\.npz"):
        read_policy_file(tmp_path / "p.npz")


def test_observations_of_another_robot_are_refused() -> None:
    with pytest.raises(UserError, match="this policy takes 2 numbers"):
        Policy(PlainActor((HIDDEN, OUT)))(np.zeros((4, 3)))
