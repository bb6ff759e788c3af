"""Files that someone made to do harm, or by mistake: each is one clear line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from offline_mbrl.data.d4rl import hdf5
from offline_mbrl.data.d4rl.policy import read_policy
from offline_mbrl.data.d4rl.reader import load_file
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import ROBOTS, get_task

MEDIUM = get_task("hopper-medium")
ROWS = 7

Plant = Callable[[h5py.File, str, Path], object]
"""Puts something under a name into a file that lies in a folder."""


def external_link(file: h5py.File, name: str, folder: Path) -> None:
    with h5py.File(folder / "other.hdf5", "w") as other:
        other["x"] = np.ones(ROWS)
    file[name] = h5py.ExternalLink("other.hdf5", "x")


def external_storage(file: h5py.File, name: str, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(8 * ROWS))
    file.create_dataset(name, (ROWS,), "f8", external=[(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, name: str, folder: Path) -> None:
    with h5py.File(folder / "other.hdf5", "w") as other:
        other["x"] = np.ones(ROWS)
    layout = h5py.VirtualLayout((ROWS,), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.hdf5", "x", (ROWS,))
    file.create_virtual_dataset(name, layout)


def soft_loop(file: h5py.File, name: str, folder: Path) -> None:
    file[name], file["back"] = h5py.SoftLink("/back"), h5py.SoftLink(f"/{name}")


def region(file: h5py.File, name: str, folder: Path) -> None:
    file["target"] = np.ones(3)
    file.create_dataset(name, (ROWS,), h5py.regionref_dtype)[:] = file["target"].regionref[:]


def huge(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, (10**12,), "f4", chunks=(1000,))


def large(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, (10**7,), "f4", chunks=(1000,), fillvalue=0)


def typed(dtype: Any) -> Plant:
    return lambda file, name, folder: file.create_dataset(name, (ROWS,), dtype)


PLANTS: dict[str, tuple[Plant, str]] = {
    "a group": (lambda file, name, folder: file.create_group(name), "is a group"),
    "the root": (lambda file, name, folder: file.__setitem__(name, file["/"]), "is a group"),
    "a named type": (lambda file, name, folder: file.__setitem__(name, np.dtype("f8")), "is a datatype"),
    "a dangling link": (lambda file, name, folder: file.__setitem__(name, h5py.SoftLink("/gone")), "is a link"),
    "a loop of links": (soft_loop, "is a link"),
    "a link to another file": (external_link, "is a link"),
    "another file's bytes": (external_storage, "keeps its content in other files"),
    "a virtual array": (virtual, "keeps its content in other files"),
    "text": (lambda file, name, folder: file.create_dataset(name, data=[b"1"] * ROWS), "holds text"),
    "varying text": (typed(h5py.string_dtype()), "holds text"),
    "varying length": (typed(h5py.vlen_dtype(np.float32)), "holds arrays of varying length"),
    "references": (typed(h5py.ref_dtype), "holds references"),
    "regions": (region, "holds references"),
    "records": (typed([("a", "f4"), ("b", "f4")]), "holds values of type"),
    "arrays of arrays": (typed("(3,)f4"), "holds values of type"),
    "complex numbers": (typed("c8"), "holds values of type complex64"),
    "opaque bytes": (typed("V4"), "holds values of type"),
    "nothing": (lambda file, name, folder: file.create_dataset(name, data=h5py.Empty("f4")), "is empty"),
    "a scalar": (lambda file, name, folder: file.create_dataset(name, data=1.0), r"have shape \(\)"),
    "no rows": (lambda file, name, folder: file.create_dataset(name, (0,), "f4"), "have shape"),
    "a huge claim": (huge, r"claims shape \(1000000000000,\), more than \d+ bytes can hold"),
    "a large claim": (large, r"claims shape \(10000000,\), more than \d+ bytes can hold"),
    "too wide": (lambda file, name, folder: file.create_dataset(name, (ROWS, 99), "f4"), r"have shape \(7, 99\)"),
}


def make(path: Path, raw: dict[str, Any], without: str = "") -> h5py.File:
    file = h5py.File(path, "w")
    for name, array in raw.items():
        if name != without:
            file[name] = array
    return file


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "terminals", "timeouts", "next_observations"])
@pytest.mark.parametrize("what", PLANTS)
def test_what_is_no_plain_array_in_the_file_is_refused(
    raw: dict[str, Any], tmp_path: Path, name: str, what: str
) -> None:
    plant, words = PLANTS[what]
    with make(tmp_path / "x.hdf5", raw, without=name) as file:
        plant(file, name, tmp_path)
    with pytest.raises(UserError, match=f"{name} {words}" if what != "no rows" else words) as found:
        load_file(MEDIUM, tmp_path / "x.hdf5")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("what", [what for what in PLANTS if what not in ("a scalar", "no rows", "too wide")])
def test_a_policys_arrays_are_held_to_the_same(tmp_path: Path, what: str) -> None:
    plant, words = PLANTS[what]
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        plant(file.create_group("metadata/policy/fc0"), "weight", tmp_path)
    with pytest.raises(UserError, match=f"metadata/policy/fc0/weight {words}"):
        read_policy(tmp_path / "x.hdf5", ROBOTS["hopper"])


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(2000)])
def test_what_is_no_hdf5_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.hdf5").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*x\.hdf5 as HDF5"):
        load_file(MEDIUM, tmp_path / "x.hdf5")


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match="there is no file"), hdf5.open_hdf5(path):
            pass


def test_a_truncated_file_is_named(raw: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path / "x.hdf5", raw).close()
    content = (tmp_path / "x.hdf5").read_bytes()
    for length in range(8, len(content), len(content) // 9):
        (tmp_path / "x.hdf5").write_bytes(content[:length])
        with pytest.raises(UserError, match="cannot read"):
            load_file(MEDIUM, tmp_path / "x.hdf5")


def test_a_packed_file_of_equal_values_is_no_bomb(tmp_path: Path) -> None:
    """Deflate packs a thousand zeros into a byte, as terminals of a robot that never falls are."""
    rows = 100_000
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for name, shape in {"observations": (rows, 11), "actions": (rows, 3), "rewards": (rows,)}.items():
            file.create_dataset(name, data=np.zeros(shape, np.float32), compression="gzip", compression_opts=9)
        file.create_dataset("terminals", data=np.zeros(rows, np.bool_), compression="gzip")
    assert len(load_file(MEDIUM, tmp_path / "x.hdf5")) == rows - rows // 1000
