"""How good each estimator's choice would have been, from the records of some runs alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from offline_mbrl.model_error.penalties import Correlation, rank_correlation
from offline_mbrl.selection.candidates import labels
from offline_mbrl.selection.ranking import KEPT, absolute_error, mean_rank, regret
from offline_mbrl.simulation.rules import Floats
from offline_mbrl.storage.records import Record
from offline_mbrl.tasks import get_task

IN_UNITS = ("fqe", "critics", "model", "model_penalized")
"""Estimators of a value; the others only order."""

COMBINED = (("fqe", "model_penalized"), ("fqe", "critics", "model", "model_penalized", "td_error"))
"""Estimators whose mean ranks are scored too, where all candidates have them."""


class Candidate(NamedTuple):
    """One policy: who it is, its estimates, and its worth."""

    name: str
    seed: int
    step: int
    estimates: dict[str, float | None]
    value: float  # discounted, what estimates estimate
    score: float  # normalized


class Score(NamedTuple):
    """How an estimator did on the policies that it has an estimate for."""

    estimator: str
    candidates: int
    correlation: Correlation
    regret: dict[int, float]  # regret@k, in the unit of the value
    spread: float  # best minus worst true value, what regret can be at most
    error: float | None  # absolute, None where the estimate is no value
    chosen: str
    chosen_score: float
    best_score: float


def candidates(studies: Sequence[Record]) -> list[Candidate]:
    """The policies of all records."""
    names, found = labels([study["about"] for study in studies]), []
    for name, study in zip(names, studies, strict=True):
        robot = get_task(study["about"]["task"]).robot
        for one in study["candidates"]:
            score = float(robot.normalized_score(np.mean(one["returns"])))
            found.append(Candidate(name, one["seed"], one["step"], one["estimates"], one["value"], score))
    return found


def scores(policies: Sequence[Candidate]) -> list[Score]:
    """The score of every estimator, and of the combinations that all policies have."""
    names = list(dict.fromkeys(name for one in policies for name in one.estimates))
    found = []
    for name in names:
        able = [one for one in policies if name in one.estimates]
        found.append(score(name, able, _column(able, name)))
    for combined in COMBINED if policies else ():
        if all(name in one.estimates for one in policies for name in combined):
            title = f"mean rank of {' and '.join(combined) if len(combined) == 2 else 'all'}"
            found.append(score(title, policies, mean_rank([_column(policies, name) for name in combined])))
    return found


def score(name: str, policies: Sequence[Candidate], estimates: Floats) -> Score:
    """How the `estimates` [C] of `policies` order and meet their true values."""
    truth, points = np.array([one.value for one in policies]), np.array([one.score for one in policies])
    chosen = policies[int(np.argmax(np.where(np.isnan(estimates), -np.inf, estimates)))]
    return Score(
        estimator=name,
        candidates=len(policies),
        correlation=rank_correlation(estimates, truth),
        regret={kept: regret(estimates, truth, kept) for kept in KEPT if kept <= len(policies)},
        spread=float(np.ptp(truth)),
        error=absolute_error(estimates, truth) if name in IN_UNITS else None,
        chosen=f"{chosen.name}, seed {chosen.seed}, step {chosen.step:,}",
        chosen_score=chosen.score,
        best_score=float(points.max()),
    )


def _column(policies: Sequence[Candidate], name: str) -> Floats:
    """An estimate that was not finite is stored as null."""
    values = [one.estimates[name] for one in policies]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def as_record(found: Sequence[Score]) -> list[dict[str, Any]]:
    """Scores as plain values."""
    return [one._asdict() | {"correlation": one.correlation._asdict()} for one in found]
