"""Open-loop errors of imagined paths against the true one, step by step, and of the endings that they predict.

An error is divided by the data's standard deviation of its dimension, so 1 is as far off as two rows drawn at random
are. A row counts as long as the true trajectory goes on; its last step, which ends it, counts too.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.model_error.play import Played
from offline_mbrl.simulation.rules import Bools, Floats

REPORTED = (1, 5, 10, 20, 50)
"""Steps that tables and per-dimension figures show, those within the horizon."""


def reported(horizon: int) -> list[int]:
    """The steps of `REPORTED` up to `horizon`, and the last one."""
    return sorted({step for step in REPORTED if step <= horizon} | {horizon})


def state_errors(played: Played, imagined: Floats, std: Floats) -> dict[str, Any]:
    """For every h: the rows that count, how many of them left the finite numbers, and their errors.

    Args:
      played: the truth, h steps of B rows.
      imagined: [k, h, B, d] observations of k paths.
      std: [d] of the data.

    Returns:
      "rmse": sqrt of the mean over rows, paths and dimensions of (error / std)^2, the finite ones; "median" and "p90"
      over rows and paths of a row's root mean square over dimensions, infinite ones included; "dimensions" the rmse
      of each dimension, at the steps of `reported`.
    """
    horizon = len(played.alive)
    steps = [_errors_of_step(played, imagined, std, step) for step in range(horizon)]
    return {
        "rows": played.alive.sum(axis=1),
        "lost": [int((~np.isfinite(error).all(-1)).sum()) for error in steps],
        "rmse": [_rms(_finite(error)) for error in steps],
        "median": [_quantile(error, 0.5) for error in steps],
        "p90": [_quantile(error, 0.9) for error in steps],
        "dimensions": {str(h): _rms(_finite(steps[h - 1]), axis=0) for h in reported(horizon)},
    }


def reward_errors(played: Played, imagined: Floats, std: float) -> dict[str, Any]:
    """For every h the root mean square and the mean error of rewards [k, h, B], in deviations of the data's."""
    pairs = zip(imagined.swapaxes(0, 1), played.reward, played.alive, strict=True)
    errors = [_finite(((path - true) / std)[:, alive].reshape(-1, 1)) for path, true, alive in pairs]
    return {"rmse": [_rms(error) for error in errors], "bias": [_mean(error) for error in errors]}


def termination(played: Played, ends: Bools) -> dict[str, dict[str, Any]]:
    """Whether rows that end within h steps are foreseen: by h counts, precision and recall; None where undefined.

    A row whose actions run out before it has ended says nothing about later steps and is left out of them.

    Args:
      played: the truth.
      ends: [h, B] the imagined step ends the row.
    """
    happened = np.logical_or.accumulate(played.terminated & played.alive)
    foreseen = np.logical_or.accumulate(ends)
    known = played.alive | np.concatenate([np.zeros_like(happened[:1]), happened[:-1]])
    return {str(h): _counts(happened[h - 1], foreseen[h - 1], known[h - 1]) for h in reported(len(ends))}


def _counts(happened: Bools, foreseen: Bools, known: Bools) -> dict[str, Any]:
    hits = int((happened & foreseen & known).sum())
    ended, claimed = int((happened & known).sum()), int((foreseen & known).sum())
    return {
        "rows": int(known.sum()),
        "ended": ended,
        "foreseen": claimed,
        "precision": hits / claimed if claimed else None,
        "recall": hits / ended if ended else None,
    }


def _errors_of_step(played: Played, imagined: Floats, std: Floats, step: int) -> Floats:
    """[k * alive, d] errors after a step, in deviations; what is not finite becomes infinite."""
    error = (imagined[:, step] - played.obs[step + 1]) / std
    chosen = error[:, played.alive[step]].reshape(-1, error.shape[-1])
    return np.where(np.isfinite(chosen), chosen, np.inf)


def _finite(errors: Floats) -> Floats:
    kept: Floats = errors[np.isfinite(errors).all(axis=-1)]
    return kept


def _rms(errors: Floats, axis: int | None = None) -> NDArray[np.float64] | float | None:
    return np.sqrt(np.square(errors).mean(axis=axis)) if errors.size else None


def _mean(errors: Floats) -> float | None:
    return float(errors.mean()) if errors.size else None


def _quantile(errors: Floats, share: float) -> float | None:
    rows = np.sqrt(np.square(errors).mean(axis=-1))
    return float(np.quantile(rows, share, method="nearest")) if rows.size else None
