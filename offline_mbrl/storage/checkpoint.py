"""Checkpoints of a whole pytree with Orbax: written aside, then moved into place, so a kill loses nothing.

Each has a digest beside its arrays. One that does not hold any more is set aside with a warning, and the one before it
takes its place.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from offline_mbrl.errors import UserError, warn
from offline_mbrl.failures import out_of_system
from offline_mbrl.storage.digest import is_intact, write_digest

Tree = TypeVar("Tree")

DAMAGED = "damaged-"
"""Before the name of a checkpoint that was set aside."""


class Checkpoints:
    """The last `keep` checkpoints under `folder` (all when None), each named by its step."""

    def __init__(self, folder: Path, keep: int | None = 2) -> None:
        self.folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
        with _quiet_orbax():
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        self._sound: set[int] = set()

    def steps(self) -> list[int]:
        """The steps of the finished checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest sound checkpoint's step; None when there never was one.

        Raises:
          UserError: there were checkpoints, and every one is damaged.
        """
        steps = self.steps()
        sound = next((step for step in reversed(steps) if self.is_sound(step)), None)
        if sound is None and any(self.folder.glob(f"{DAMAGED}*")):
            raise UserError(f"every checkpoint in {self.folder} is damaged; remove that folder to start from nothing")
        if sound is not None and sound != steps[-1]:
            warn(f"going on from step {sound}, the checkpoint before it")
        return sound

    def is_sound(self, step: int) -> bool:
        """Whether there is a checkpoint of `step` as it was written; a damaged one is set aside with a warning."""
        if step not in self._sound and step in self.steps():
            if is_intact(self.folder / str(step)):
                self._sound.add(step)
            else:
                self._set_aside(step)
        return step in self._sound

    def save(self, step: int, tree: object) -> None:
        """Writes `tree` as the checkpoint of `step`, in the place of one that is there, and waits until it is in place.

        Raises:
          OSError: the disk is full, or the folder cannot be written.
        """
        with _naming(self.folder / str(step)):
            if step in self.steps():  # a run was stopped after this and before it could note that it was there
                self._manager.delete(step)
            # Forced: Orbax silently skips a step below the latest, and fits are named by seed and come in any order.
            self._manager.save(step, args=ocp.args.StandardSave(tree), force=True)
            self._manager.wait_until_finished()
            write_digest(self.folder / str(step))
        self._sound.add(step)

    def restore(self, step: int, template: Tree) -> Tree:
        """The checkpoint of `step`, shaped, typed and placed like `template` (arrays or shape structures).

        Raises:
          UserError: the files are damaged or belong to another configuration.
        """
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), template)
        if step in self.steps() and not self.is_sound(step):
            raise UserError(f"checkpoint {self.folder / str(step)} is damaged; run the same command again")
        try:
            restored: Tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            advice = "delete that folder to go on from an earlier one"
            raise UserError(f"checkpoint {self.folder / str(step)} cannot be read ({reason}); {advice}") from error
        return restored

    def restore_plain(self, step: int) -> Any:
        """The checkpoint of `step` as it lies there: nested dictionaries and lists of NumPy arrays.

        Raises:
          UserError: the files are damaged.
        """
        if not self.is_sound(step):
            raise UserError(f"checkpoint {self.folder / str(step)} is damaged; run the same command again")
        with _quiet_orbax(), warnings.catch_warnings(action="ignore"):  # it warns that no devices were named
            tree = self._manager.restore(step, args=ocp.args.StandardRestore())
        return jax.tree.map(np.asarray, tree)

    def close(self) -> None:
        self._manager.close()

    def _set_aside(self, step: int) -> None:
        """Moves a damaged checkpoint out of the way of later ones."""
        aside = self.folder / f"{DAMAGED}{step}"
        shutil.rmtree(aside, ignore_errors=True)
        (self.folder / str(step)).rename(aside)
        self._manager.reload()
        warn(f"{self.folder / str(step)} is damaged (its digest does not hold) and set aside as {aside.name}")


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Raises what the system refused as the `OSError` it is, and clears what was written of `place` by then."""
    try:
        with _quiet_orbax():
            yield
    except Exception as error:
        for part in place.parent.glob(f"{place.name}.orbax-checkpoint-tmp*"):
            shutil.rmtree(part, ignore_errors=True)
        if not isinstance(error, OSError) and (found := out_of_system(error, place)):
            raise found from error
        raise


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Without Orbax's log, where each of its threads puts a traceback of what is raised, and told, anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
