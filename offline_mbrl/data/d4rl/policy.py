"""The policies that D4RL's files carry: the tanh-Gaussian networks that made their data (Fu et al. 2020).

An official file of a single policy stores it under `metadata/policy`: two hidden layers of rectified units, `fc0` and
`fc1`, then one head for the mean and one for the log standard deviation, which rlkit clips to [-20, 2]. The same arrays
under the same names in an `.npz` archive are what ships with this package, and what `extract` writes.
"""

from pathlib import Path
from zipfile import BadZipFile

import h5py
import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.behavior import Behavior, stochastic
from offline_mbrl.errors import UserError
from offline_mbrl.nn.networks import Params
from offline_mbrl.storage.files import write_atomically, writing
from offline_mbrl.tasks import Robot

GROUP = "metadata/policy"
LOG_STD_BOUNDS = (-20.0, 2.0)
HIDDEN = ("fc0", "fc1")
HEADS = ("last_fc", "last_fc_log_std")
KIND = {"nonlinearity": b"relu", "output_distribution": b"tanh_gaussian"}
NAMES = (*KIND, *(f"{layer}/{part}" for layer in (*HIDDEN, *HEADS) for part in ("weight", "bias")))

Arrays = dict[str, NDArray[np.generic]]


def read_policy(path: Path, robot: Robot) -> Behavior:
    """The stochastic policy in an official HDF5 file or in an extracted `.npz`, for `robot`.

    Raises:
      UserError: there is no such file, it holds no policy, or the policy is of another kind or robot.
    """
    arrays = _read(path)
    for name, kind in KIND.items():
        if arrays[name] != kind:
            raise UserError(f"{path}: the policy's {name} is {arrays[name].item()!r}; only {kind!r} is understood")
    sizes = (arrays["fc0/weight"].shape[-1], arrays["last_fc/weight"].shape[0])
    if sizes != (robot.obs_dim, robot.action_dim):
        raise UserError(
            f"{path}: the policy maps {sizes[0]} observations to {sizes[1]} actions; {robot.name} has "
            f"{robot.obs_dim} and {robot.action_dim}"
        )
    return stochastic(actor(arrays), LOG_STD_BOUNDS)


def extract(source: Path, out: Path) -> Path:
    """Writes the policy stored in the official file `source` to the archive `out`; returns `out`."""
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


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        if path.suffix == ".npz":
            with np.load(path) as archive:
                return {name: archive[name] for name in NAMES}
        with h5py.File(path) as file:
            return {name: np.asarray(file[f"{GROUP}/{name}"][()]) for name in NAMES}
    except KeyError as error:
        raise UserError(
            f"{path} holds no policy ({error.args[0]}); D4RL's medium and expert files hold one, its random, replay "
            "and medium-expert files do not"
        ) from error
    except (OSError, ValueError, BadZipFile) as error:
        raise UserError(f"cannot read a policy from {path} ({error}); name an official HDF5 file") from error
