"""Behavior policies as small weight files: one compressed array archive each, no pickles."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from numpy.typing import NDArray

from offline_mbrl.nn.networks import Params
from offline_mbrl.storage.files import write_atomically


class SavedPolicy(NamedTuple):
    """Weights of a tanh-Gaussian actor and the undiscounted returns of its stochastic episodes."""

    actor: Params
    returns: NDArray[np.float64]


def save(path: Path, policy: SavedPolicy, dtype: type[np.floating] = np.float32) -> None:
    """Writes `policy` to `path`; weights are stored as `dtype`."""
    weights = {name: np.asarray(leaf, dtype) for name, leaf in flatten_dict(policy.actor, sep="/").items()}
    with write_atomically(path) as file:
        np.savez_compressed(file, allow_pickle=False, returns=policy.returns, **weights)


def load(path: Path) -> SavedPolicy:
    """Reads a policy; weights come back as float32."""
    with path.open("rb") as file, np.load(file) as archive:
        weights = {name: archive[name].astype(np.float32) for name in archive.files if name != "returns"}
        return SavedPolicy(unflatten_dict(weights, sep="/"), archive["returns"])
