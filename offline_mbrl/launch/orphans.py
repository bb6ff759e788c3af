"""A worker ends with the launcher that started it, also where that was killed and could tell nobody."""

import ctypes
import os
import signal
import sys
import threading

SET_PARENT_DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of Linux's prctl(2)."""


def end_with(launcher: int) -> None:
    """Has this process killed when the process `launcher`, which started it, is dead; now, where it is dead already.

    Linux does it when the thread that started this process ends: it waits for this process, so it ends no sooner than
    the launcher does.
    """
    if sys.platform != "linux":
        end_with_stdin()
        return
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != launcher:
        _end()


def end_with_stdin() -> None:
    """Has this process end when its stdin does, a pipe whose other end the launcher holds, wherever that is known."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        _end()

    threading.Thread(target=watch, daemon=True).start()


def _end() -> None:
    """At once: what is on the disk is whole, and nobody is there to be told."""
    os._exit(128 + signal.SIGTERM)
