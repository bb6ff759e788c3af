from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.data.builtin import policy as policies
from offline_mbrl.data.builtin.behaviors import d4rl_medium
from offline_mbrl.data.builtin.policy import policy_label
from offline_mbrl.data.builtin.recipe import RECIPE_VERSION
from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.source import load
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import ROBOTS

FILE = d4rl_medium(ROBOTS["hopper"])


def load_policy(size: int | None = 200, file: Path = FILE, task: str = "hopper-medium") -> Dataset:
    return load(task, f"policy:{file}", size)


@pytest.mark.medium
def test_d4rls_own_policy_gives_the_builtin_medium_rows() -> None:
    made, builtin = load_policy(), load("hopper-medium", "builtin", 200)
    assert made.fingerprint == builtin.fingerprint
    assert (made.source, made.physics) == ("policy", "d4rl-v2")
    assert made.name.startswith("hopper-medium-")
    assert made.name.endswith("@200")


@pytest.mark.medium
def test_rows_are_made_once_for_each_policy_size_and_physics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_policy()
    with np.load(FILE) as archive:
        weights = dict(archive)
    weights["last_fc/bias"] = weights["last_fc/bias"] + 0.1
    np.savez(tmp_path / FILE.name, **weights)
    changed = load_policy(file=tmp_path / FILE.name)
    assert changed.name != made.name
    assert changed.fingerprint != made.fingerprint
    load("hopper-medium", f"policy:{FILE}", 200, "gymnasium-v4")
    assert len(list(cache_folder().glob("policy/*.npz"))) == 3
    monkeypatch.setattr(policies, "play", None)
    assert load_policy().fingerprint == made.fingerprint


def test_the_default_is_d4rls_size_and_more_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(policies, "load_or_build", lambda path, build: asked.append(path.name))
    for size in (None, 1500, 2_000_000):
        load_policy(size)
    full = asked[0].split("-d4rl-v2-")[0]
    assert [name.split("-d4rl-v2-")[0] for name in asked] == [full, f"{full}@1500", f"{full}@2000k"]
    assert all(name.endswith(f"-{RECIPE_VERSION}.npz") for name in asked)


@pytest.mark.parametrize("level", ["random", "medium-replay", "medium-expert"])
def test_levels_that_one_policy_does_not_make_are_refused(level: str) -> None:
    with pytest.raises(UserError, match=f"hopper-{level} is not that; name hopper-medium"):
        load_policy(task=f"hopper-{level}")


def test_another_robots_policy_is_refused() -> None:
    with pytest.raises(UserError, match="maps 11 observations to 3 actions; walker2d has 17 and 6"):
        load_policy(task="walker2d-medium")


def test_a_policy_needs_a_file() -> None:
    with pytest.raises(UserError, match="--source policy:FILE"):
        load("hopper-medium", "policy")
    with pytest.raises(UserError, match="there is no file"):
        load("hopper-medium", "policy:absent.npz")


def test_a_label_is_plain_and_short() -> None:
    label = policy_label(Path("/x/my policy*[1]=a" + "y" * 100 + ".npz"), "0123456789abcdef")
    assert label.startswith("my-policy--1--a")
    assert label.endswith("y-01234567")
    assert len(label) == 69
