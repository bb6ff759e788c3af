"""What a data set holds, in numbers and in words."""

from typing import NamedTuple

import numpy as np

from offline_mbrl.data.dataset import Dataset

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Summary(NamedTuple):
    """Counts of a data set and the distribution of its undiscounted returns over complete episodes.

    An episode that was cut, by the end of a file or of a generated part, has no return to compare and counts among the
    episodes only. Without a complete episode the figures of the returns are NaN.
    """

    rows: int
    episodes: int
    terminals: int
    timeouts: int
    length_mean: float  # control steps of complete episodes
    length_std: float
    return_mean: float
    return_std: float  # population standard deviation
    return_quantiles: tuple[float, ...]  # at `QUANTILES`
    score_mean: float  # normalized score
    score_std: float


def summarize(dataset: Dataset) -> Summary:
    """The summary of `dataset`."""
    robot, episodes = dataset.task.robot, dataset.episodes
    complete = episodes.complete
    returns = episodes.returns[complete] if complete.any() else np.array([np.nan])
    lengths = episodes.lengths[complete] if complete.any() else np.array([np.nan])
    return Summary(
        rows=len(dataset),
        episodes=len(episodes.lengths),
        terminals=int(episodes.terminals.sum()),
        timeouts=int(episodes.timeouts.sum()),
        length_mean=float(lengths.mean()),
        length_std=float(lengths.std()),
        return_mean=float(returns.mean()),
        return_std=float(returns.std()),
        return_quantiles=tuple(np.quantile(returns, QUANTILES).tolist()),
        score_mean=float(robot.normalized_score(returns.mean())),
        score_std=float(returns.std() * robot.score_per_return),
    )


def describe(dataset: Dataset) -> str:
    """A few lines for people: what `data stats` prints."""
    facts = summarize(dataset)
    quantiles = "  ".join(f"{value:.0f}" for value in facts.return_quantiles)
    return "\n".join(
        [
            f"{dataset.name} (source {dataset.source}, physics {dataset.physics})",
            f"  fingerprint       {dataset.fingerprint}",
            f"  rows              {facts.rows:,}{_fillers(dataset)}",
            f"  episodes          {facts.episodes:,}: {facts.terminals:,} terminal, {facts.timeouts:,} timed out, "
            f"{facts.episodes - facts.terminals - facts.timeouts:,} cut",
            f"  mean length       {facts.length_mean:.1f} steps",
            f"  return            {facts.return_mean:.1f} ± {facts.return_std:.1f} over complete episodes",
            f"  min 25% 50% 75% max  {quantiles}",
            f"  normalized score  {facts.score_mean:.1f} ± {facts.score_std:.1f}",
        ]
    )


def _fillers(dataset: Dataset) -> str:
    count = int((~dataset.known_next).sum())
    return f", {count:,} of them falls without a next observation, which fits of models leave out" if count else ""
