"""Which estimator chooses well, which policies there were, and what a budget of episodes buys: as Markdown."""

from collections.abc import Sequence

from offline_mbrl.model_error.table import MISSING, Lines, under_headings
from offline_mbrl.selection.bandit import Curve
from offline_mbrl.selection.scores import Candidate, Score

BUDGETS = (1, 8, 20, 50, 100, 200)
"""Episodes that the table of the bandit shows."""


def report(policies: Sequence[Candidate], found: Sequence[Score], curve: Curve) -> str:
    """All tables."""
    parts = [("Budgeted online choice", bandit_table(curve))]
    if found:
        parts = [("Estimators", score_table(found)), ("Policies", candidate_table(policies)), *parts]
    return under_headings(parts)


def score_table(found: Sequence[Score]) -> Lines:
    """A line for each estimator; regret in percent of the spread between the best and the worst policy."""
    kept = list(found[0].regret)
    head = ["estimator", "policies", "rank correlation", *(f"regret@{k}" for k in kept), "absolute error"]
    return [*head, "chosen", "its score", "best score"], [_score_line(one, kept) for one in found]


def candidate_table(policies: Sequence[Candidate]) -> Lines:
    """A line for each policy, the best one first."""
    names = list(dict.fromkeys(name for one in policies for name in one.estimates))
    order = sorted(policies, key=lambda one: -one.value)
    lines = [
        [one.name, str(one.seed), f"{one.step:,}", f"{one.score:.1f}", f"{one.value:.1f}"]
        + [_number(one.estimates.get(name)) for name in names]
        for one in order
    ]
    return ["policy", "seed", "step", "score", "true value", *names], lines


def bandit_table(curve: Curve) -> Lines:
    """The true mean score of the policy that would be deployed after some episodes, with its 95 % interval."""
    budgets = [budget for budget in BUDGETS if budget <= len(curve.mean)]
    cells = [f"{curve.mean[k - 1]:.1f} [{curve.low[k - 1]:.1f}, {curve.high[k - 1]:.1f}]" for k in budgets]
    return ["episodes", *map(str, budgets)], [["score", *cells]]


def _score_line(one: Score, kept: Sequence[int]) -> list[str]:
    correlation = MISSING if one.correlation.value is None else f"{one.correlation.value:.2f}"
    shares = [f"{one.regret[k] / one.spread:.0%}" if k in one.regret and one.spread else MISSING for k in kept]
    tail = [one.chosen, f"{one.chosen_score:.1f}", f"{one.best_score:.1f}"]
    return [one.estimator, str(one.candidates), correlation, *shares, _number(one.error), *tail]


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"
