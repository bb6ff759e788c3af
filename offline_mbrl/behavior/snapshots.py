"""The policies that a collecting run keeps on its way: `<steps>.npz` in a folder."""

from pathlib import Path

from offline_mbrl.errors import UserError
from offline_mbrl.nn import weights as policies
from offline_mbrl.nn.weights import SavedPolicy


def snapshot_path(folder: Path, steps: int) -> Path:
    """Where the policy after `steps` environment steps is kept."""
    return folder / f"{steps:08d}.npz"


def read_snapshots(folder: Path) -> dict[int, SavedPolicy]:
    """Every policy of a run by its environment steps, in their order.

    Raises:
      UserError: the folder holds something else, or a damaged policy.
    """
    return dict(sorted((_steps(path), _read(path)) for path in folder.glob("*.npz")))


def _steps(path: Path) -> int:
    if not path.stem.isdecimal():
        raise UserError(f"{path} is no snapshot, whose name would be its steps, as {snapshot_path(path.parent, 10000)}")
    return int(path.stem)


def _read(path: Path) -> SavedPolicy:
    try:
        return policies.load(path)
    except Exception as error:  # of a damaged archive any kind may come
        raise UserError(f"the snapshot {path} is damaged ({type(error).__name__}: {error}); remove it") from error
