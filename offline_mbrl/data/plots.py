"""Pictures of data sets and of the runs that made them."""

from pathlib import Path

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import write_atomically

BINS = 60
ENDINGS = (".png", ".pdf", ".svg")


def return_histogram(dataset: Dataset, path: Path) -> Path:
    """Writes the histogram of the normalized scores of the complete episodes, in the format of the ending.

    Raises:
      UserError: the ending is none of a figure.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"figures are written as {', '.join(ENDINGS)}, not as '{path.suffix}'; give such an ending")
    # Matplotlib takes a second to import; the figure needs no window system.
    from matplotlib.figure import Figure

    episodes = dataset.episodes
    scores = dataset.task.robot.normalized_score(episodes.returns[episodes.complete])
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(scores, bins=BINS, color="tab:blue")
    if scores.size:
        mean = f"mean {scores.mean():.1f} of {scores.size:,} complete episodes"
        axes.axvline(scores.mean(), color="black", linestyle="--", linewidth=1, label=mean)
        axes.legend(loc="upper right", frameon=False)
    axes.set(xlabel="normalized score of an episode", ylabel="episodes", title=f"{dataset.name} ({dataset.source})")
    with write_atomically(path) as file:
        figure.savefig(file, format=path.suffix.lower()[1:], dpi=150)
    return path
