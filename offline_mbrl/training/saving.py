"""When and how a run's states are saved: by the clock, beside the training, and in the end only what acting needs."""

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from offline_mbrl.errors import UserError
from offline_mbrl.storage.checkpoint import Checkpoints

CHECKPOINTS = "checkpoints"
"""States of a run in progress: all that going on needs, the last two."""

FINAL = "final"
"""The state of a finished run without what only training reads."""


class Saver:
    """The checkpoints of one run, each written by a thread while training goes on."""

    def __init__(self, out: Path, every: float) -> None:
        self._checkpoints = Checkpoints(out / CHECKPOINTS)
        self._every, self._last = every, time.monotonic()
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last >= self._every

    def save(self, step: int, state: Any) -> None:
        """Begins to write `state`, which may be consumed once this returns; waits for the one before it.

        Raises:
          OSError: the one before it could not be written.
        """
        self.wait()
        host = jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)
        self._pending = self._thread.submit(self._checkpoints.save, step, host)
        self._last = time.monotonic()

    def wait(self) -> None:
        """Until nothing is being written; `OSError` where that failed."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def latest_step(self) -> int | None:
        """The step of the last one that is in place."""
        self.wait()
        return self._checkpoints.latest_step()

    def close(self) -> None:
        """Waits, and lets go of the files."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._checkpoints.close()


def last_step(out: Path, finished: bool = False) -> int:
    """The step of the newest saved state in the run's folder `out`, 0 where there is none."""
    checkpoints = Checkpoints(out / (FINAL if finished else CHECKPOINTS))
    step = checkpoints.latest_step() or 0
    checkpoints.close()
    return step


def read_state(out: Path, step: int, template: Any, finished: bool = False) -> Any:
    """The saved state of `step`, shaped like `template`."""
    checkpoints = Checkpoints(out / (FINAL if finished else CHECKPOINTS))
    state = checkpoints.restore(step, template)
    checkpoints.close()
    return state


def read_saved(out: Path) -> tuple[int, Any]:
    """The newest saved state in `out` as plain arrays, and its step; of a finished run what was kept.

    Raises:
      UserError: there is none, or it is damaged.
    """
    for folder in (out / FINAL, out / CHECKPOINTS):
        checkpoints = Checkpoints(folder) if folder.is_dir() else None
        step = checkpoints.latest_step() if checkpoints else None
        if checkpoints and step is not None:
            state = checkpoints.restore_plain(step)
            checkpoints.close()
            return step, state
    raise UserError(f"{out / CHECKPOINTS} holds no checkpoint yet; train it first")


def save_final(out: Path, step: int, state: Any) -> None:
    """Writes what is kept of a finished run."""
    final = Checkpoints(out / FINAL, keep=1)
    final.save(step, state)
    final.close()


def drop_checkpoints(out: Path) -> None:
    """Removes the states that going on would need, of a run that is done."""
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
