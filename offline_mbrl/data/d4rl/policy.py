"""The policies that D4RL's files carry: the tanh-Gaussian networks that made their data (Fu et al. 2020).

An official file of a single policy stores it under `metadata/policy`: two hidden layers of rectified units, `fc0` and
`fc1`, then one head for the mean and one for the log standard deviation, which rlkit clips to [-20, 2]. The same arrays
under the same names in an `.npz` archive are what ships with this package, and what `extract` writes.
"""

from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import h5py
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.behavior import Behavior, stochastic
from offline_mbrl.data.cache import read_part
from offline_mbrl.data.d4rl.hdf5 import NUMBERS, check_numbers, find_array, open_hdf5
from offline_mbrl.errors import UserError
from offline_mbrl.nn.networks import Params
from offline_mbrl.storage.files import write_atomically, writing
from offline_mbrl.tasks import Robot

GROUP = "metadata/policy"
LOG_STD_BOUNDS = (-20.0, 2.0)
HIDDEN = ("fc0", "fc1")
HEADS = ("last_fc", "last_fc_log_std")
KIND = {"nonlinearity": b"relu", "output_distribution": b"tanh_gaussian"}
WEIGHTS = tuple(f"{layer}/{part}" for layer in (*HIDDEN, *HEADS) for part in ("weight", "bias"))
NAMES = (*KIND, *WEIGHTS)

MOST_BYTES = 2**26
"""A file that claims more for a policy is not one: D4RL's take 0.3 MB."""

Arrays = dict[str, NDArray[np.generic]]


class StoredPolicy(NamedTuple):
    """A policy and what tells it from others: equal weights have equal digests, in whichever kind of file."""

    behavior: Behavior
    digest: str  # SHA-256 (hex) of the weights


def read_policy(path: Path, robot: Robot) -> StoredPolicy:
    """The stochastic policy in an official HDF5 file or in an extracted `.npz`, for `robot`.

    Raises:
      UserError: there is no such file, it holds no policy, or the policy is of another kind or robot.
    """
    arrays = _read(path)
    sizes = (arrays["fc0/weight"].shape[1], arrays["last_fc/weight"].shape[0])
    if sizes != (robot.obs_dim, robot.action_dim):
        raise UserError(
            f"{path}: the policy maps {sizes[0]} observations to {sizes[1]} actions; {robot.name} has "
            f"{robot.obs_dim} and {robot.action_dim}"
        )
    return StoredPolicy(stochastic(actor(arrays), LOG_STD_BOUNDS), _digest(arrays))


def extract(source: Path, out: Path) -> Path:
    """Writes the policy stored in the official file `source` to the archive `out`; returns `out`."""
    if out.suffix != ".npz":
        raise UserError(f"a policy is written as an .npz archive; name it {out.with_suffix('.npz')}")
    arrays = _read(source)
    advice = "free space there or choose another file"
    with writing(out, advice), write_atomically(out) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return out


def actor(arrays: Arrays) -> Params:
    """D4RL's layers as weights of our Gaussian actor, whose one output layer holds the mean and the log deviation."""
    layers = [(arrays[f"{name}/weight"], arrays[f"{name}/bias"]) for name in HIDDEN]
    weight, bias = (np.concatenate([arrays[f"{head}/{part}"] for head in HEADS]) for part in ("weight", "bias"))
    return {
        "MLP_0": {
            f"Dense_{index}": {"kernel": np.asarray(w.T, np.float32), "bias": np.asarray(b, np.float32)}
            for index, (w, b) in enumerate([*layers, (weight, bias)])
        }
    }


def _digest(arrays: Arrays) -> str:
    digest = sha256()
    for name in WEIGHTS:
        weights = np.ascontiguousarray(arrays[name], np.float32)
        digest.update(f"|{name}{weights.shape}".encode())
        digest.update(weights.data)
    return digest.hexdigest()


def _read(path: Path) -> Arrays:
    """Every array of the policy, found to be one that is understood."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    arrays = _read_archive(path) if path.suffix == ".npz" else _read_hdf5(path)
    for name, kind in KIND.items():
        if arrays[name] != kind:
            raise UserError(f"{path}: the policy's {name} is {arrays[name].item()!r}; only {kind!r} is understood")
    _check_weights(path, arrays)
    return arrays


def _read_archive(path: Path) -> Arrays:
    try:
        with ZipFile(path) as archive:
            claim = sum(info.file_size for info in archive.infolist())
            if claim > MOST_BYTES:
                raise ValueError(f"{claim} bytes are too many")
            there = archive.namelist()
            arrays = {name: read_part(archive, name) for name in NAMES if f"{name}.npy" in there}
    except Exception as error:  # of a damaged archive any kind may come
        raise UserError(f"cannot read a policy from {path} ({error}); name an official HDF5 file") from error
    return _complete(path, arrays)


def _read_hdf5(path: Path) -> Arrays:
    with open_hdf5(path) as file:
        arrays = {name: find_array(file, f"{GROUP}/{name}") for name in NAMES}
        for name in WEIGHTS:
            if arrays[name] is not None:
                _check_size(arrays[name])
        return _complete(path, {name: np.asarray(array[()]) for name, array in arrays.items() if array is not None})


def _check_size(array: h5py.Dataset) -> None:
    check_numbers(array)
    if array.nbytes > MOST_BYTES:
        raise UserError(f"{array.file.filename}: {array.name} has shape {array.shape}, which no policy has")


def _complete(path: Path, arrays: Arrays) -> Arrays:
    missing = [name for name in NAMES if name not in arrays]
    if missing:
        raise UserError(
            f"{path} holds no policy (there is no {missing[0]}); D4RL's medium and expert files hold one, its random, "
            "replay and medium-expert files do not"
        )
    return arrays


def _check_weights(path: Path, arrays: Arrays) -> None:
    """Refuses weights that are no finite numbers or do not fit each other."""
    for name in WEIGHTS:
        if arrays[name].dtype.kind not in NUMBERS or not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: the policy's {name} holds other than finite numbers")
    layers = [*pairwise(HIDDEN), *((HIDDEN[-1], head) for head in HEADS)]
    fits = all(arrays[f"{name}/weight"].ndim == 2 for name in (*HIDDEN, *HEADS))
    fits = fits and all(arrays[f"{a}/weight"].shape[0] == arrays[f"{b}/weight"].shape[1] for a, b in layers)
    fits = fits and all(
        arrays[f"{name}/bias"].shape == arrays[f"{name}/weight"].shape[:1] for name in (*HIDDEN, *HEADS)
    )
    if not (fits and arrays["last_fc/bias"].shape == arrays["last_fc_log_std/bias"].shape):
        raise UserError(f"{path}: the shapes of the policy's layers do not fit each other")
