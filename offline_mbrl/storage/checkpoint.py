"""Checkpoints of a whole pytree with Orbax: written aside, then moved into place, so a kill loses nothing."""

from pathlib import Path
from typing import TypeVar

import jax
import orbax.checkpoint as ocp

from offline_mbrl.errors import UserError

Tree = TypeVar("Tree")


class Checkpoints:
    """The last `keep` checkpoints under `folder` (all when None), each named by its step."""

    def __init__(self, folder: Path, keep: int | None = 2) -> None:
        self.folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def steps(self) -> list[int]:
        """The steps of the finished checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest finished checkpoint's step; None when there is none."""
        step: int | None = self._manager.latest_step()
        return step

    def save(self, step: int, tree: object) -> None:
        """Writes `tree` as the checkpoint of `step` and waits until it is in place."""
        # Forced: Orbax silently skips a step below the latest, and fits are named by seed and come in any order.
        self._manager.save(step, args=ocp.args.StandardSave(tree), force=True)
        self._manager.wait_until_finished()

    def restore(self, step: int, template: Tree) -> Tree:
        """The checkpoint of `step`, shaped, typed and placed like `template` (arrays or shape structures).

        Raises:
          UserError: the files are damaged or belong to another configuration.
        """
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), template)
        try:
            restored: Tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            advice = "delete that folder to go on from an earlier one"
            raise UserError(f"checkpoint {self.folder / str(step)} cannot be read ({reason}); {advice}") from error
        return restored

    def close(self) -> None:
        self._manager.close()
