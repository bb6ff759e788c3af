"""Lanes laid over the devices of one host: each device trains its own, all have the data, and none waits for another.

The programs are the same: XLA divides them by where their arguments lie (`jax.sharding.NamedSharding`), and since no
lane reads another's numbers there is nothing that devices would have to send each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from offline_mbrl.training.loop import largest_divisor
from offline_mbrl.types import Data

Tree = TypeVar("Tree")

LANES = "lanes"
"""The axis of the devices."""


@dataclass(frozen=True)
class Layout:
    """The devices of a program's lanes; one alone leaves everything where it is."""

    devices: tuple[jax.Device, ...]

    def lanes(self, tree: Tree) -> Tree:
        """Leaves [lanes, ...] divided over the devices."""
        return self._place(tree, PartitionSpec(LANES))

    def data(self, data: Data) -> Data:
        """Rows on every device, what is a lane's own of them on the lane's."""
        return self._place(data._replace(own=None), PartitionSpec())._replace(own=self.lanes(data.own))

    def _place(self, tree: Tree, spec: PartitionSpec) -> Tree:
        if len(self.devices) == 1:
            return tree
        placed: Tree = jax.device_put(tree, NamedSharding(Mesh(np.array(self.devices), (LANES,)), spec))
        return placed


def make_layout(lanes: Sequence[int], devices: Sequence[jax.Device]) -> Layout:
    """As many of `devices` as divide each of the numbers of `lanes`, which are trained one after another."""
    return Layout(tuple(devices[: largest_divisor(gcd(*lanes), len(devices))]))
