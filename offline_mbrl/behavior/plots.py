"""The picture of a training run of behavior policies."""

from pathlib import Path

import numpy as np

from offline_mbrl.behavior.snapshots import read_snapshots
from offline_mbrl.storage.files import write_atomically
from offline_mbrl.tasks import Robot


def collection_curve(robot: Robot, snapshots: Path, path: Path) -> Path:
    """Writes a PNG of a training run: mean normalized score and range of each snapshot's episodes; returns `path`."""
    from matplotlib.figure import Figure

    snapshot_list = read_snapshots(snapshots)
    scores = np.stack([robot.normalized_score(policy.returns) for policy in snapshot_list.values()])
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(list(snapshot_list), scores.mean(axis=1), color="tab:blue")
    axes.fill_between(
        list(snapshot_list), scores.min(axis=1), scores.max(axis=1), color="tab:blue", alpha=0.2, linewidth=0
    )
    title = f"{robot.name}: snapshots of online SAC, mean and range of {scores.shape[1]} stochastic episodes"
    axes.set(xlabel="environment steps", ylabel="normalized score", title=title)
    with write_atomically(path) as file:
        figure.savefig(file, format="png", dpi=150)
    return path
