"""What a sweep needs of the place where workers run: this machine's slots, a Ray cluster, a Slurm site."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from offline_mbrl.launch.task import Call, Ended

UNKNOWN_SLOTS = 256
"""How many calls an engine is taken to run at a time that queues them by itself, where nobody says."""


def nothing() -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Executor:
    """Where workers run.

    submit: starts calls, or queues them, and promises how each ends; a promise never fails for what its engine does.
    slots: how many run at a time; the engine queues the others itself where `queues` is true.
    stop: asks all workers to stop at a safe point, and takes back what waits; called at most once.
    close: lets go of the engine, when no call is left.
    hears_signals: whether the workers belong to this process's terminal, so that one that was asked to stop means that
      the sweep was.
    """

    name: str
    submit: Callable[[Sequence[Call]], list[Future[Ended]]]
    slots: int
    queues: bool = False
    stop: Callable[[], None] = nothing
    close: Callable[[], None] = nothing
    hears_signals: bool = False

    @property
    def width(self) -> int | None:
        """How many calls it takes at a time; None where it takes all."""
        return None if self.queues else self.slots
