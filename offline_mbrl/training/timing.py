"""How long the parts of a run take; what is compiled in a part counts as compilation, wherever it happens."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import jax

Item = TypeVar("Item")

COMPILE = "compile"
COMPILING = "/jax/core/compile/"
"""What JAX's own measurements of tracing, lowering and compiling are called."""


class Busy:
    """Seconds of spans of time that may lie within each other: what is told twice counts once."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def add(self, began: float, ended: float) -> None:
        """A span that has just ended; those within it were told before it."""
        while self._spans and self._spans[-1][0] >= began:
            self._spans.pop()
        after = self._spans[-1][1] if self._spans else began
        self._spans.append((max(began, after), ended))

    @property
    def seconds(self) -> float:
        return sum(ended - began for began, ended in self._spans)


class Stopwatch:
    """Wall seconds by part, on top of those of earlier sessions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The block is of the part `name`, but for what is compiled in it."""
        busy, began = compiling(), time.monotonic()
        compiled = busy.seconds
        try:
            yield
        finally:
            compiled = busy.seconds - compiled
            self._add(name, max(0.0, time.monotonic() - began - compiled))
            self._add(COMPILE, compiled)

    def timed(self, items: Iterator[Item], name: str) -> Iterator[Item]:
        """`items`, the making of each a part `name`."""
        while True:
            with self.part(name):
                found = next(items, None)
            if found is None:
                return
            yield found

    def take(self) -> dict[str, float]:
        """The seconds since the last time they were taken."""
        seconds, self.seconds = self.seconds, {}
        return seconds

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


@cache
def compiling() -> Busy:
    """The spans that this process spends compiling, from the first call on."""
    busy = Busy()

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith(COMPILING):
            busy.add(time.monotonic() - duration_secs, time.monotonic())

    jax.monitoring.register_event_duration_secs_listener(listen)
    return busy


def peak_memory() -> int | None:
    """Most bytes that were in use: on the device where it counts them, otherwise of this process."""
    counted = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return process_memory() if counted is None else int(counted)


def process_memory() -> int | None:
    """Most bytes that this process had in the host's memory; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
