from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.behavior.choose import pack
from offline_mbrl.behavior.plots import collection_curve
from offline_mbrl.behavior.snapshots import read_snapshots, snapshot_path
from offline_mbrl.errors import UserError
from offline_mbrl.nn import weights as policies
from offline_mbrl.tasks import ROBOTS

HOPPER = ROBOTS["hopper"]


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    for steps in (100_000_000, 10_000):
        actor = {"layer": {"bias": np.full(2, steps, np.float32)}}
        policies.save(snapshot_path(tmp_path, steps), policies.SavedPolicy(actor, np.full(3, 1.0)))
    return tmp_path


def test_snapshots_come_in_the_order_of_their_steps(snapshots: Path) -> None:
    found = read_snapshots(snapshots)
    assert list(found) == [10_000, 100_000_000]
    assert [policy.actor["layer"]["bias"][0] for policy in found.values()] == [1e4, 1e8]


@pytest.mark.parametrize("name", ["best.npz", "-5.npz", "1e5.npz"])
def test_a_name_that_is_no_number_of_steps_is_refused(snapshots: Path, name: str) -> None:
    (snapshots / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"{name} is no snapshot"):
        pack(HOPPER, snapshots, snapshots / "out")
    with pytest.raises(UserError, match=f"{name} is no snapshot"):
        collection_curve(HOPPER, snapshots, snapshots / "curve.png")


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04" + bytes(60)])
def test_a_damaged_snapshot_is_named(snapshots: Path, content: bytes) -> None:
    snapshot_path(snapshots, 10_000).write_bytes(content)
    with pytest.raises(UserError, match=r"the snapshot .*00010000\.npz is damaged"):
        pack(HOPPER, snapshots, snapshots)


@pytest.mark.parametrize("choice", ["medium", "expert"])
def test_a_policy_named_by_steps_must_be_there(snapshots: Path, choice: str) -> None:
    with pytest.raises(UserError, match="there is no snapshot of 0 steps; the nearest is 10000"):
        pack(HOPPER, snapshots, snapshots, **({"medium": 10_000, "expert": 10_000} | {choice: 0}))
