"""Data of any size from one policy that the user names: that of an official D4RL file, or an extracted one."""

import re
from pathlib import Path

from offline_mbrl.data.builtin.recipe import RECIPE_VERSION, Segment, full_size, play, size_label
from offline_mbrl.data.cache import cache_folder, load_or_build
from offline_mbrl.data.d4rl.policy import read_policy
from offline_mbrl.data.dataset import Dataset, from_raw
from offline_mbrl.errors import UserError
from offline_mbrl.progress import progress
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics, Task


def load_policy(
    task: Task, path: Path, size: int | None = None, physics: Physics = DEFAULT_PHYSICS, cache: Path | None = None
) -> Dataset:
    """`size` rows of the policy in `path` (D4RL's number of a medium set when None), made once and then read.

    D4RL's own medium policy gives the rows of the builtin medium set. The name says which policy it was.

    Raises:
      UserError: the file holds no policy of the task's robot, or the task is one whose data many policies make.
    """
    if task.level != "medium":
        raise UserError(
            f"policy:FILE makes the data of one policy and {task.name} is not that; name {task.robot.name}-medium"
        )
    policy = read_policy(path, task.robot)
    rows = full_size(task) if size is None else size
    name = policy_label(path, policy.digest) + ("" if rows == full_size(task) else f"@{size_label(rows)}")
    target = cache_folder(cache) / "policy" / f"{name}-{physics}-{policy.digest[:12]}-{RECIPE_VERSION}.npz"

    def build() -> Dataset:
        with progress(f"generating {name}", rows, lines=False) as report:
            played = play(task.robot, [Segment("medium", policy.behavior, rows)], physics, report)
        return from_raw(task, source="policy", name=name, physics=physics, **played._asdict())

    return load_or_build(target, build)


def policy_label(path: Path, digest: str) -> str:
    """`hopper_medium-v2-1a2b3c4d`: the file's name in plain letters and the beginning of the weights' digest."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', path.stem)[:60]}-{digest[:8]}"
