"""Requests to stop: what Ctrl-C, SIGTERM and SIGHUP mean to a process that has something to save.

The first of them asks. Work that would only be made again ends at once; inside `at_safe_points` it goes on to the next
`stop_here`. The second ends the process at once, whatever it is doing: it may be inside a compiled program, where
Python's own handlers wait, so a thread that the system wakes does it. SIGUSR1 asks and never forces: launchers send it
to their workers, which may have had the terminal's Ctrl-C already, and batch systems can send it before time is up.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType

SAVE_EVERY = 60.0
"""Seconds between two saves of work in progress; what a kill costs at most."""

FORCING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
GENTLE: int = getattr(signal, "SIGUSR1", signal.SIGTERM)
ASKING = tuple(dict.fromkeys((*FORCING, GENTLE)))

_requested: int | None = None
_deferred = 0
_heeding = False


class Stopped(BaseException):
    """The work was left at a safe point because signal `number` asked for it; no `Exception`, as Ctrl-C is none."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}; give the same command again to go on"

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


def stop_requested() -> int | None:
    """The number of the signal that asked this process to stop; None when none did."""
    return _requested


def request_stop(number: int) -> None:
    """Asks this process to stop as signal `number` would; the first request counts."""
    global _requested
    _requested = number if _requested is None else _requested


def stop_here() -> None:
    """A safe point: raises `Stopped` where a stop was requested."""
    if _requested is not None:
        raise Stopped(_requested)


@contextmanager
def at_safe_points() -> Iterator[None]:
    """Inside, a request waits for the next `stop_here`, or for nothing where the work ends before one."""
    global _deferred
    _deferred += 1
    try:
        yield
    finally:
        _deferred -= 1


@contextmanager
def heed_signals() -> Iterator[None]:
    """Inside, signals ask to stop; when it ends they do what they did before, and no request is left.

    A signal that the process was started to ignore (nohup, a shell's background) stays ignored. Off the main thread
    Python allows no handlers: only requests of the program itself count there. One inside another changes nothing.
    """
    global _requested, _heeding
    if _heeding:
        yield
        return
    _heeding = True
    try:
        with _handlers() if threading.current_thread() is threading.main_thread() else nullcontext():
            yield
    finally:
        _requested, _heeding = None, False


@contextmanager
def _handlers() -> Iterator[None]:
    heeded = [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _ask) for number in heeded}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, set(heeded).intersection(FORCING)), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _ask(number: int, frame: FrameType | None) -> None:
    """The handler, in the main thread: notes the first request, and ends work that need not be saved."""
    first = _requested is None
    request_stop(number)
    if first and not _deferred:
        raise Stopped(number)


def _watch(reader: int, forcing: set[int]) -> None:
    """Reads the numbers of the signals as the system writes them, until the writing end is closed."""
    asked = 0
    while numbers := os.read(reader, 64):
        for number in forcing.intersection(numbers):
            asked += numbers.count(number)
            if asked > 1:
                _say("stopped at once; the same command goes on from what was saved last")
                os._exit(128 + number)
            if _deferred:
                _say("stopping at the next safe point; once more stops at once")


def _say(text: str) -> None:
    """One line to stderr past Python's buffers, whose lock the main thread may hold."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())
