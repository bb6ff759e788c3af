"""When a seed is given up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from offline_mbrl.errors import UserError
from offline_mbrl.storage.records import DIVERGED, read_json, write_json

DIVERGENCE = 1e10
"""A metric beyond this is treated as NaN is: no quantity of these tasks comes near it while training is sound."""


@dataclass(frozen=True)
class Divergence:
    """A seed that was given up: what went wrong and which checkpoint was the last before it."""

    seed: int
    step: int
    quantity: str
    value: str
    last_good: str | None

    def __str__(self) -> str:
        checkpoint = f"last good checkpoint: {self.last_good}" if self.last_good else "no checkpoint before it"
        return f"seed {self.seed} diverged by step {self.step}: {self.quantity} = {self.value}; {checkpoint}"


def read_divergences(out: Path) -> list[Divergence]:
    """What is recorded in a run's folder; nothing where every seed is sound."""
    return [Divergence(**entry) for entry in read_json(out / DIVERGED, missing=[])]


def write_divergences(out: Path, divergences: Sequence[Divergence]) -> None:
    """Records all that a run has given up so far."""
    write_json(out / DIVERGED, [asdict(entry) for entry in divergences])


def all_diverged(divergences: Sequence[Divergence]) -> UserError:
    """The error for a run that has no sound seed left."""
    return UserError(f"every seed diverged: {'; '.join(map(str, divergences))}")


def diverging(seeds: Sequence[int], metrics: Mapping[str, np.ndarray]) -> Iterator[tuple[int, str, float]]:
    """The seeds [S] with a metric [S] that is not finite or beyond the limit, and the first such metric."""
    for row, seed in enumerate(seeds):
        bad = [name for name, values in metrics.items() if not abs(values[row]) <= DIVERGENCE]
        if bad:
            yield seed, bad[0], float(metrics[bad[0]][row])
