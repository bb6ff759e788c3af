"""Pictures of data sets and of the runs that made them."""

from pathlib import Path

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.storage.files import write_atomically

BINS = 60


def return_histogram(dataset: Dataset, path: Path) -> Path:
    """Writes a PNG with the histogram of the normalized scores of the complete episodes; returns `path`."""
    # Matplotlib takes a second to import; the figure needs no window system.
    from matplotlib.figure import Figure

    episodes = dataset.episodes
    scores = dataset.task.robot.normalized_score(episodes.returns[episodes.complete])
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(scores, bins=BINS, color="tab:blue")
    if scores.size:
        axes.axvline(scores.mean(), color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="normalized score of an episode", ylabel="episodes", title=f"{dataset.name} ({dataset.source})")
    with write_atomically(path) as file:
        figure.savefig(file, format="png", dpi=150)
    return path
