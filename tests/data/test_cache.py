"""Whatever damage a cached set has, it is noticed and the set is made again."""

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.data.cache import load, load_or_build, save
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.tasks import get_task

MADE = synthetic(get_task("hopper-medium"), 50)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "set.npz", MADE)
    return tmp_path / "set.npz"


def check(path: Path) -> None:
    """The file is refused and replaced by a sound one."""
    assert load(path) is None
    built: list[int] = []

    def build() -> Dataset:
        built.append(1)
        return MADE

    assert load_or_build(path, build).fingerprint == MADE.fingerprint
    assert built == [1]
    read = load(path)
    assert read is not None
    assert read.fingerprint == MADE.fingerprint


def patched(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Other bytes `offset` bytes into every entry of the archive's directory."""

    def patch(content: bytes) -> bytes:
        changed, at = bytearray(content), content.find(b"PK\x01\x02")
        while at >= 0:
            changed[at + offset : at + offset + len(value)] = value
            at = content.find(b"PK\x01\x02", at + 4)
        return bytes(changed)

    return patch


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "an unknown compression (NotImplementedError)": patched(10, b"\x63\x00"),
    "a version of zip that is not there (NotImplementedError)": patched(6, b"\xff\x00"),
    "an encrypted part (RuntimeError)": patched(8, b"\x01\x00"),
    "a part that is not deflated (zlib.error)": patched(10, b"\x08\x00"),
    "a part that is not LZMA (struct.error, LZMAError)": patched(10, b"\x0e\x00"),
    "a part that lies beyond the end": patched(42, b"\xff\xff\xff\x7f"),
    "nothing": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "another format": lambda content: b"\x93NUMPY\x01\x00",
    "a pickle": lambda content: b"\x80\x04.",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_any_kind_is_built_over(path: Path, damage: str) -> None:
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    check(path)


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def replaced(path: Path, name: str, content: bytes) -> None:
    """The archive with sound checksums and another part `name`."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for part, old in parts.items():
            archive.writestr(part, content if part == f"{name}.npy" else old)


@pytest.mark.parametrize(
    "content",
    [
        header("(1000000000000000, 1000)"),  # MemoryError
        header("(-1, 11)"),
        header("(49, 11)") + bytes(4 * 50 * 11),  # fewer rows than there are
        header("(50, 11)", "<f2") + bytes(4 * 50 * 11),
        header("(50, 11)", "|O") + b"\x80\x04.",
        header("(" * 5000),
        b"",
    ],
)
def test_a_part_whose_header_claims_other_than_there_is_is_built_over(path: Path, content: bytes) -> None:
    replaced(path, "observations", content)
    check(path)


def test_a_header_that_hides_the_end_of_its_part_is_noticed(path: Path) -> None:
    """The checksum comes after the last byte, which a reader that trusts the header never asks for."""
    content = path.read_bytes()
    assert content.count(b"'<U16'") == 1  # the letters of the name, hopper-medium@50
    path.write_bytes(content.replace(b"'<U16'", b"'<U13'"))
    check(path)


@pytest.mark.parametrize("name", ["task", "source", "episodes/lengths", "known_next"])
def test_a_missing_part_is_built_over(path: Path, name: str) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            if part != f"{name}.npy":
                archive.writestr(part, content)
    check(path)


def test_every_flipped_bit_is_noticed_or_harmless(path: Path) -> None:
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        read = load(path)
        assert read is None or read.fingerprint == MADE.fingerprint


def test_rows_without_known_next_observations_stay_so(tmp_path: Path) -> None:
    known = np.arange(len(MADE)) % 5 > 0
    save(tmp_path / "set.npz", dataclasses.replace(MADE, known_next=known))
    read = load(tmp_path / "set.npz")
    assert read is not None
    np.testing.assert_array_equal(read.known_next, known)
