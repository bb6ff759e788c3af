"""What is fitted to the data before a run's first step: a dynamics model, a reward model, a cloned policy.

A fit is a record of pure functions of one seed, epoch by epoch. `pretraining/fit.py` runs it for many seeds at once;
`pretraining/store.py` keeps the results, and goes on with a fit that was stopped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from offline_mbrl.config import Config
from offline_mbrl.types import Array, Data, Key

Fixed = Any
"""What a fit draws or computes once: splits, scalers. It is made again from the key and the data, never stored."""

State = Any
"""What an epoch changes: a pytree."""


class Progress(NamedTuple):
    """How far one seed's fit is."""

    epochs: Array  # int32
    error: Array  # what the fit lowers; its unit is `Pretraining.measure`


def unchanged(data: Data) -> Data:
    """The data as they are."""
    return data


@dataclass(frozen=True)
class Pretraining:
    """How one thing is fitted, for one seed.

    config, version: enter the name under which the result is kept; raise the version when the fit itself changes.
    streams: the names of the stream of a seed's key that the fit draws from, outermost first.
    prepare: what is done to the data once, for all seeds.
    start: (key, data) -> what stays fixed, and the state before the first epoch.
    epoch: (fixed, state, data, key) -> the state after one pass; a seed that is not active does not change.
    active: state -> bool, whether the seed still trains.
    finish: (fixed, state) -> the result, a pytree.
    progress: state -> `Progress`.
    measure, max_epochs: for the progress bar.
    """

    config: Config
    version: int
    streams: tuple[str, ...]
    start: Callable[[Key, Data], tuple[Fixed, State]]
    epoch: Callable[[Fixed, State, Data, Key], State]
    active: Callable[[State], Array]
    finish: Callable[[Fixed, State], Any]
    progress: Callable[[State], Progress]
    measure: str
    max_epochs: int | None = None
    prepare: Callable[[Data], Data] = unchanged
