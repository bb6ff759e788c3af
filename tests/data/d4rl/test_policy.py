from pathlib import Path

import h5py
import numpy as np
import pytest

from offline_mbrl.data.behavior import Behavior, stochastic
from offline_mbrl.data.builtin.behaviors import d4rl_medium, load_behaviors
from offline_mbrl.data.d4rl.policy import LOG_STD_BOUNDS, NAMES, actor, extract, read_policy
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import ROBOTS

HOPPER = ROBOTS["hopper"]


def arrays(hidden: int = 4) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    sizes = {"fc0": (hidden, 11), "fc1": (hidden, hidden), "last_fc": (3, hidden), "last_fc_log_std": (3, hidden)}
    weights = {f"{name}/weight": (0.3 * generator.normal(size=size)).astype(np.float32) for name, size in sizes.items()}
    biases = {f"{name}/bias": generator.normal(size=size[0]).astype(np.float32) for name, size in sizes.items()}
    kind = {"nonlinearity": np.array(b"relu"), "output_distribution": np.array(b"tanh_gaussian")}
    return weights | biases | kind


def hdf5(path: Path, content: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in content.items():
            file[f"metadata/policy/{name}"] = array
    return path


def acts(behavior: Behavior, obs_dim: int = 11, action_dim: int = 3) -> np.ndarray:
    """What a policy does in a few observations."""
    generator = np.random.default_rng(2)
    obs, noise = generator.normal(size=(20, obs_dim)).astype(np.float32), generator.normal(size=(20, action_dim))
    return behavior.act(obs, noise)


def rlkits_policy(content: dict[str, np.ndarray], obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation before the squashing, written out."""
    x = obs
    for layer in ("fc0", "fc1"):
        x = np.maximum(content[f"{layer}/weight"] @ x + content[f"{layer}/bias"], 0)
    mean = content["last_fc/weight"] @ x + content["last_fc/bias"]
    log_std = content["last_fc_log_std/weight"] @ x + content["last_fc_log_std/bias"]
    return mean, np.exp(np.clip(log_std, *LOG_STD_BOUNDS))


def test_the_policy_is_rlkits(tmp_path: Path) -> None:
    content = arrays() | {"last_fc_log_std/bias": np.array([-9.0, -1.0, 5.0], np.float32)}
    behavior = read_policy(hdf5(tmp_path / "x.hdf5", content), HOPPER).behavior
    obs = np.linspace(-1, 1, 11).astype(np.float32)
    mean, std = rlkits_policy(content, obs)
    assert std[0] < np.exp(-5.0)  # our own actors stop there, this one does not
    for noise in np.random.default_rng(1).normal(size=(20, 1, 3)):
        action = behavior.act(obs[None], noise)
        np.testing.assert_allclose(action[0], np.tanh(mean + std * noise[0]), rtol=1e-5)


def test_an_extracted_policy_is_the_files(tmp_path: Path) -> None:
    source = hdf5(tmp_path / "x.hdf5", arrays())
    ours, theirs = (read_policy(path, HOPPER) for path in (extract(source, tmp_path / "x.npz"), source))
    np.testing.assert_array_equal(acts(ours.behavior), acts(theirs.behavior))
    assert ours.digest == theirs.digest
    other = hdf5(tmp_path / "y.hdf5", arrays() | {"fc0/bias": np.ones(4, np.float32)})
    assert read_policy(other, HOPPER).digest != ours.digest


def test_an_archive_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"name it .*out\.npz"):
        extract(hdf5(tmp_path / "x.hdf5", arrays()), tmp_path / "out.hdf5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nonlinearity": np.array(b"tanh")}, "nonlinearity is b'tanh'; only b'relu'"),
        ({"fc0/weight": np.zeros((4, 17), np.float32)}, "maps 17 observations to 3 actions; hopper has 11 and 3"),
        ({"fc1/bias": None}, "holds no policy"),
        ({"fc1/weight": np.zeros((4, 5), np.float32)}, "do not fit each other"),
        ({"last_fc_log_std/bias": np.zeros(2, np.float32)}, "do not fit each other"),
        ({"fc0/weight": np.zeros(4, np.float32)}, "do not fit each other"),
        ({"fc0/bias": np.array([1, 2, 3, np.nan], np.float32)}, "fc0/bias holds other than finite numbers"),
        ({"fc0/bias": np.array([b"1", b"2", b"3", b"4"])}, "fc0/bias holds text where"),
    ],
)
def test_another_kind_of_policy_is_refused(tmp_path: Path, change: dict[str, np.ndarray | None], words: str) -> None:
    content = {name: array for name, array in (arrays() | change).items() if array is not None}
    with pytest.raises(UserError, match=words):
        read_policy(hdf5(tmp_path / "x.hdf5", content), HOPPER)


def test_what_is_no_policy_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_policy(tmp_path / "absent.npz", HOPPER)
    for name in ("x.npz", "x.hdf5"):
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(UserError, match="cannot read"):
            read_policy(tmp_path / name, HOPPER)


def test_an_archive_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    extract(hdf5(tmp_path / "x.hdf5", arrays()), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as archive:
        np.savez_compressed(tmp_path / "y.npz", **archive, more=np.zeros(2**24, np.float32))
    with pytest.raises(UserError, match=r"cannot read a policy from .*y\.npz \(\d+ bytes are too many\)"):
        read_policy(tmp_path / "y.npz", HOPPER)


@pytest.mark.parametrize("robot", ROBOTS.values(), ids=lambda robot: robot.name)
def test_d4rls_medium_policies_ship_and_play_medium(robot: object, shared: Path) -> None:
    assert isinstance(robot, type(HOPPER))
    with (
        np.load(d4rl_medium(robot)) as shipped,
        np.load(shared / "d4rl" / f"{robot.name}_medium-v2_policy.npz") as official,
    ):
        assert sorted(shipped.files) == sorted(NAMES)
        for name in NAMES:
            np.testing.assert_array_equal(shipped[name], official[name.replace("/", "__")])
        expected = actor({name: official[name.replace("/", "__")] for name in NAMES})
    shape = (robot.obs_dim, robot.action_dim)
    found, stored = load_behaviors(robot).medium_behavior, stochastic(expected, LOG_STD_BOUNDS)
    np.testing.assert_array_equal(acts(found, *shape), acts(stored, *shape))
