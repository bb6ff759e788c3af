import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from offline_mbrl.data.cache import cache_folder
from offline_mbrl.data.d4rl import files, reader
from offline_mbrl.data.d4rl.catalogue import Official, official_files
from offline_mbrl.data.d4rl.files import import_file, locate, sha256, verify
from offline_mbrl.data.d4rl.reader import load_d4rl, load_file, read
from offline_mbrl.data.source import load
from offline_mbrl.data.summary import summarize
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import TASKS, get_task

MEDIUM = get_task("hopper-medium")
FILE = "hopper_medium-v2.hdf5"


def write_file(path: Path, raw: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in raw.items():
            file.create_dataset(name, data=array, compression="gzip")
    return path


@pytest.fixture
def published(raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file that, for once, is the official one; in a folder of its own."""
    path = write_file(tmp_path / "published" / FILE, raw)
    entry = Official(MEDIUM.name, "v2", FILE, path.stat().st_size, sha256(path), "http://localhost/gone")
    for module in (files, reader):
        monkeypatch.setattr(module, "official_files", lambda: official_files() | {FILE: entry})
    return path


# rows, episodes, terminals, time-outs; v0 files hold no next observations, yet every fall
REAL = {
    "hopper_medium-v2": ("hopper-medium", 911, 2, 2, 0),
    "halfcheetah_medium-v2": ("halfcheetah-medium", 2000, 2, 0, 2),
    "hopper_medium": ("hopper-medium", 524, 2, 2, 0),
    "hopper_random-v1": ("hopper-random", 50, 2, 2, 0),
    "halfcheetah_medium_replay-v1": ("halfcheetah-medium-replay", 2000, 2, 0, 2),
}


@pytest.mark.parametrize("name", REAL)
def test_every_real_file_is_read_by_the_rules(shared: Path, name: str) -> None:
    task, rows, episodes, terminals, timeouts = REAL[name]
    dataset = load(task, f"d4rl:{shared / 'd4rl' / name}.hdf5")
    facts = summarize(dataset)
    assert (facts.rows, facts.episodes, facts.terminals, facts.timeouts) == (rows, episodes, terminals, timeouts)
    assert (dataset.source, dataset.physics) == ("d4rl-unofficial", "unknown")
    assert (dataset.discounts == 0).sum() == terminals
    assert (~dataset.known_next).sum() == (terminals if name == "hopper_medium" else 0)
    assert not (dataset.discounts[dataset.ends] == 0).any() or dataset.episodes.terminals.any()
    # No row leaps: a reset state in place of a terminal's next observation would move the torso upright at once.
    np.testing.assert_array_less(np.abs(dataset.next_observations - dataset.observations)[:, 1].max(), 0.8)
    inside = ~dataset.ends[:-1]
    np.testing.assert_array_equal(dataset.next_observations[:-1][inside], dataset.observations[1:][inside])


def test_real_returns_are_the_known_ones(shared: Path) -> None:
    hopper = read(shared / "d4rl" / FILE, MEDIUM, "d4rl-v2")
    np.testing.assert_allclose(hopper.episodes.returns, [1465, 1413], atol=1)
    cheetah = read(shared / "d4rl" / "halfcheetah_medium-v2.hdf5", get_task("halfcheetah-medium"), "d4rl-v2")
    np.testing.assert_allclose(cheetah.episodes.returns, [4670, 4880], atol=1)


def test_the_table_has_every_task_once_per_version() -> None:
    entries = [(entry.task, entry.version) for entry in official_files().values()]
    assert sorted(entries) == sorted((task, version) for task in TASKS for version in ("v2", "v0"))
    assert official_files()["walker_mixed.hdf5"].task == "walker2d-medium-replay"
    assert official_files()[FILE].bytes == 152_756_557


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_that_tests_write_read_alike(raw: dict[str, Any], tmp_path: Path, dtype: type) -> None:
    typed = {name: array.astype(dtype) for name, array in raw.items()}
    plain = read(write_file(tmp_path / "a.hdf5", raw), MEDIUM, "d4rl-v2")
    odd = read(write_file(tmp_path / "b.hdf5", typed | {"rewards": typed["rewards"][:, None]}), MEDIUM, "d4rl-v1")
    assert plain.fingerprint == odd.fingerprint


def test_missing_timeouts_are_counted_from_the_horizon(tmp_path: Path) -> None:
    terminals = np.zeros(2600, np.bool_)
    terminals[499] = True
    np.testing.assert_array_equal(np.flatnonzero(reader._timeouts(terminals, MEDIUM)), [1499, 2499])


def test_search_order_is_argument_environment_home(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_file(tmp_path / "home" / ".d4rl" / "datasets" / FILE, raw)
    assert locate(MEDIUM) == home
    named = write_file(tmp_path / "named" / FILE, raw)
    monkeypatch.setenv("D4RL_DATASET_DIR", str(named.parent))
    assert locate(MEDIUM) == named
    argument = write_file(tmp_path / "argument" / FILE, raw)
    assert locate(MEDIUM, argument.parent) == argument


def test_a_missing_file_says_where_it_was_looked_for_and_what_to_do(raw: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{FILE} is not in {tmp_path}, .*data download hopper-medium"):
        load("hopper-medium", "d4rl", data_dir=tmp_path)
    write_file(tmp_path / "hopper_medium.hdf5", raw)
    with pytest.raises(UserError, match="there is version v0, another data set: --source d4rl-v0"):
        load("hopper-medium", "d4rl", data_dir=tmp_path)


def test_an_official_file_is_used_and_hashed_once(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_d4rl(MEDIUM, published.parent)
    assert (first.source, first.name, first.physics) == ("d4rl-v2", "hopper-medium-v2", "d4rl-v2")
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("hashed again"))
    assert load_d4rl(MEDIUM, published.parent).fingerprint == first.fingerprint
    os.utime(published, (1, 1))
    with pytest.raises(pytest.fail.Exception, match="hashed again"):
        load_d4rl(MEDIUM, published.parent)


def test_a_changed_file_is_refused_and_can_be_named(published: Path, tmp_path: Path) -> None:
    content = bytearray(published.read_bytes())
    content[-1] ^= 1
    published.write_bytes(content)
    with pytest.raises(UserError, match=r"has SHA-256 \w+, the official file has \w+; fetch it again.*--source d4rl:"):
        load_d4rl(MEDIUM, published.parent)
    assert load("hopper-medium", f"d4rl:{published}").source == "d4rl-unofficial"
    published.write_bytes(content[:-1])
    with pytest.raises(UserError, match="bytes, the official file has"):
        load_d4rl(MEDIUM, published.parent)


def test_a_v1_file_cannot_be_checked_and_is_not_called_official(raw: dict[str, Any], tmp_path: Path) -> None:
    write_file(tmp_path / "hopper_medium-v1.hdf5", raw)
    dataset = load("hopper-medium", "d4rl-v1", data_dir=tmp_path)
    assert (dataset.source, dataset.name, dataset.physics) == ("d4rl-unofficial", "hopper-medium-v1", "unknown")


MEMOS = ("", "[]", "3", "{}", '{"sha256": 1}', "[" * 100_000, '{"sha256": "wrong", "bytes": 1}')


@pytest.mark.parametrize("memo", MEMOS)
def test_a_damaged_memo_costs_a_second_hash(published: Path, memo: str) -> None:
    load_d4rl(MEDIUM, published.parent)
    (note,) = cache_folder().glob("verified/*.json")
    note.write_text(memo)
    assert load_d4rl(MEDIUM, published.parent).source == "d4rl-v2"


def test_verify_reports_every_file(published: Path) -> None:
    (published.parent / "hopper_random-v2.hdf5").write_bytes(b"short")
    checks = {check.path.name: check for check in verify(published.parent)}
    assert checks[FILE].official
    assert "has 5 bytes, the official file has 152525345" in checks["hopper_random-v2.hdf5"].reason


def test_import_copies_an_official_file_under_its_name(published: Path, tmp_path: Path) -> None:
    renamed = published.rename(tmp_path / "some-download")
    target = import_file(renamed, tmp_path / "data")
    assert target == tmp_path / "data" / FILE
    assert target.read_bytes() == renamed.read_bytes()
    assert import_file(target, tmp_path / "data") == target
    assert load_d4rl(MEDIUM, tmp_path / "data").source == "d4rl-v2"


def test_import_refuses_other_files(raw: dict[str, Any], tmp_path: Path) -> None:
    other = write_file(tmp_path / FILE, raw)
    with pytest.raises(UserError, match="none of the official D4RL files"):
        import_file(other, tmp_path / "data")
    with pytest.raises(UserError, match="there is no file"):
        import_file(tmp_path / "nothing", tmp_path / "data")


def test_an_official_file_of_another_task_is_refused(published: Path) -> None:
    with pytest.raises(UserError, match="is the official hopper-medium v2, not hopper-random"):
        load_file(get_task("hopper-random"), published)


def test_files_that_are_not_d4rls_are_refused(raw: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("not HDF5")
    with pytest.raises(UserError, match=r"cannot read .*text.hdf5 as HDF5"):
        read(tmp_path / "text.hdf5", MEDIUM, "d4rl-v2")
    path = write_file(tmp_path / "other.hdf5", {"observations": raw["observations"]})
    with pytest.raises(UserError, match="is not in D4RL's layout"):
        read(path, MEDIUM, "d4rl-v2")


@pytest.mark.parametrize(
    ("source", "size", "message"),
    [
        ("dforl", None, "did you mean 'd4rl'"),
        ("d4rl", 1000, "a size is for the sources builtin, policy, synthetic; d4rl sets are used whole"),
        ("builtin:x", None, "only policy:FILE, d4rl:FILE, minari:ID name a data set"),
        ("builtin", 0, "a data set of 0 rows cannot be made; ask for 1 to 20,000,000"),
        ("synthetic", 0, "a data set of 0 rows cannot be made"),
        ("synthetic", 10**12, "a data set of 1000000000000 rows cannot be made"),
    ],
)
def test_bad_sources_are_refused(source: str, size: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("hopper-medium", source, size)
