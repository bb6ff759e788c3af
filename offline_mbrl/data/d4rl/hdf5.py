"""Reads HDF5 files that others wrote: plain arrays of numbers that lie in the file itself, and nothing else.

HDF5 can point elsewhere (links, external storage, virtual arrays: the bytes of any file would become data), claim
shapes that it does not hold, and store text, references and groups where numbers are meant. Each is refused in one
line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.errors import UserError

FAULTS = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
"""What h5py raises on damaged or unusual files."""

NUMBERS = "biuf"
"""NumPy's kinds of truth values, integers and real numbers."""

INFLATION = 1032
"""Bytes that one stored byte can stand for at most: the limit of deflate, which D4RL's files are packed with."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading; what HDF5 cannot do with it in the block becomes a `UserError`."""
    try:
        if not path.is_file():
            raise UserError(f"there is no file {path}")
        with h5py.File(path, "r") as file:
            yield file
    except FAULTS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot read {path} as HDF5 ({reason}); check it with `offline-mbrl data verify`") from error


def find_array(file: h5py.File, name: str) -> h5py.Dataset | None:
    """The array `name`, whose parts are split by slashes, or None where there is nothing of that name.

    Raises:
      UserError: on the way is a link, or what is there is no array, or one whose content lies elsewhere.
    """
    place: Any = file
    for part in name.split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise _refusal(file, name, "is a link")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise _refusal(file, name, f"is a {type(place).__name__.lower()}")
    if place.external or place.is_virtual:
        raise _refusal(file, name, "keeps its content in other files")
    return place


def check_numbers(array: h5py.Dataset) -> None:
    """Refuses an array that holds other than numbers, or claims more of them than its file can hold."""
    if array.dtype.kind not in NUMBERS or array.dtype.subdtype:
        raise _refusal(array.file, array.name, f"holds {_kind(array.dtype)}")
    if array.shape is None:
        raise _refusal(array.file, array.name, "is empty")
    size = Path(array.file.filename).stat().st_size
    if prod(array.shape) * array.dtype.itemsize > INFLATION * size:
        raise _refusal(array.file, array.name, f"claims shape {array.shape}, more than {size} bytes can hold")


def read_floats(array: h5py.Dataset) -> NDArray[np.float32]:
    """The array as float32, converted while it is read: no copy in the file's own type is held."""
    check_numbers(array)
    content = np.empty(array.shape, np.float32)
    if content.size:
        array.read_direct(content)
    return content


def _refusal(file: h5py.File, name: str, fault: str) -> UserError:
    return UserError(f"{file.filename}: {name.lstrip('/')} {fault} where an array of numbers is expected")


def _kind(dtype: np.dtype[Any]) -> str:
    if h5py.check_ref_dtype(dtype):
        return "references"
    if h5py.check_string_dtype(dtype) or dtype.kind in "SU":
        return "text"
    if h5py.check_vlen_dtype(dtype):
        return "arrays of varying length"
    return f"values of type {dtype}"
