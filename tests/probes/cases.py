"""Every system on the problems that its mechanism claims to solve, and beside it what remains without the mechanism.

The tests and `tests/probes/report.py` read this table. A case varies one setting: its first value is the system as it
is meant, another takes the mechanism away. To add a system, add a case.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from offline_mbrl.conformance.small import Settings
from tests.probes.problems import PROBES, Numbers
from tests.probes.training import Outcome, solve

SEEDS = 9
"""So many that a verdict is not luck: another processor rounds otherwise, and its seeds are other ones.

Bounds lie where a claim, by the outcomes of 16 to 24 seeds, fails with a probability below 1 %.
"""

MOST = 2 / 3

FEW = 3
"""If all of so many seeds end as claimed, the others need not be trained: a verdict only fails on all of them."""


class Claim(NamedTuple):
    """The interval in which most seeds must end, or in which the mean over seeds must."""

    quantity: Literal["reward", "q"]  # reward a step under the truth; or the critics' mean value
    low: float
    high: float
    of: Literal["most", "mean"] = "most"

    def holds(self, seeds: Numbers) -> bool:
        """Whether outcomes [seeds] are as claimed."""
        tested, share = (seeds, MOST) if self.of == "most" else (seeds.mean(keepdims=True), 1.0)
        return bool(self._within(tested).mean() >= share)

    def holds_for_each(self, seeds: Numbers) -> bool:
        """Whether every one of the outcomes [seeds] is as claimed, also where only their mean need be."""
        return bool(self._within(seeds).all())

    def _within(self, numbers: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return (numbers > self.low) & (numbers < self.high)


def above(bound: float) -> Claim:
    """A system succeeds with most seeds."""
    return Claim("reward", bound, np.inf)


def below(bound: float) -> Claim:
    """An ablation fails on average: some seeds may be lucky."""
    return Claim("reward", -np.inf, bound, "mean")


def value(expected: float) -> Claim:
    """The value in closed form, of the mean over seeds, to 5 % and what the luckiest action's noise adds."""
    slack = 0.2 + 0.05 * abs(expected)
    return Claim("q", expected - slack, expected + slack, "mean")


RECORDED = Claim("reward", -np.inf, np.inf)
"""Nothing is claimed; the report shows what was reached."""


class Case(NamedTuple):
    """One system with one setting varied."""

    system: str
    setting: str
    values: tuple[Any, ...]
    own: Settings  # over the common ones, the same for all values
    claims: dict[str, tuple[Claim, ...]]  # by problem, one for each value
    steps: int = 1500
    seeds: int = SEEDS
    apart: bool = False  # each value is a program of its own: it is not a number, or a branch reads it
    slow: bool = False


MODEL_ROWS: Settings = {"real_ratio": 0.0}
"""Batches without data rows, so that the values are those of the model and have closed forms."""

UNFLOORED: Settings = MODEL_ROWS | {"floor_at_zero": False}
"""Values here may be negative."""

REWARD_MODEL: Settings = {"hidden": (16, 16), "members": 2, "elites": 2, "max_epochs": 30, "random_actions": 5}

CASES = [
    Case(
        "bc",
        "best_share",
        (1.0, 0.1),
        {},
        {"trap": (below(0.6), above(0.7)), "stitch": (below(-1.2), RECORDED)},
        apart=True,
    ),
    Case(
        "td3_bc",
        "value_weight",
        (5.0, 1000.0),
        {},
        {"trap": (above(0.6), below(-4.0)), "stitch": (RECORDED, RECORDED)},
    ),
    Case(
        "cql",
        "conservative_weight",
        (0.3, 0.0),
        {},
        {"trap": (above(0.6), below(-0.5)), "stitch": (RECORDED, RECORDED)},
    ),
    Case(
        "iql",
        "inverse_temperature",
        (10.0, 0.0),
        {"return_range": None},
        {"trap": (above(0.7), below(0.6)), "stitch": (above(-0.6), below(-1.2))},
    ),
    Case(
        "atac",
        "bellman_weight",
        (10.0, 1.0, 3000.0),
        {},
        {"trap": (above(0.7), above(0.52), below(0.2)), "stitch": (RECORDED, RECORDED, RECORDED)},
        steps=5000,
    ),
    Case(
        "edac",
        "critics",
        (30, 2),
        {"diversity_weight": 0.0},
        {"trap": (above(0.8), below(-1.5)), "stitch": (RECORDED, RECORDED)},
        apart=True,
    ),
    Case(
        "edac",
        "diversity_weight",
        (1.0, 0.0),
        {"critics": 2},
        {"ridge": (above(0.8), below(0.5))},
        seeds=24,
        apart=True,
    ),
    Case(
        "mopo",
        "penalty_weight",
        (1.0, 0.05, 0.0),
        MODEL_ROWS | {"penalty": "max_pair"},
        {
            "trap": (above(0.8), RECORDED, below(-4.0)),
            "stitch": (above(-0.5), above(-0.5), above(-0.5)),
            "noisy": (value(-20.0), value(-1.0), value(0.0)),  # -2 lambda / (1 - gamma)
        },
    ),
    Case(
        "mopo",
        "penalty_weight",
        (20.0, 0.0),
        {"penalty": "max_aleatoric"},
        {"trap": (above(0.5), below(-4.0))},
        seeds=15,
    ),
    Case(
        "combo",
        "conservative_weight",
        (2.0, 0.0),
        {},
        {"trap": (above(0.3), below(-4.0)), "stitch": (above(-0.5), above(-0.5))},
    ),
    Case(
        "crop",
        "reward.conservatism",
        (0.1, 0.0),
        {"reward": REWARD_MODEL},
        {"trap": (above(0.6), below(0.4)), "stitch": (above(-0.5), above(-0.5))},
    ),
    Case(
        "micro",
        "gap_weight",
        (1.0, 0.5, 0.0),
        UNFLOORED,
        {
            "trap": (above(0.8), above(0.8), below(-4.0)),
            "stitch": (above(-0.5), above(-0.5), above(-0.5)),
            "noisy": (value(-9.0), value(-4.5), value(0.0)),  # -gamma beta (mean c - min c) / (1 - gamma)
        },
    ),
    Case(
        "drop",
        "grouping",
        ("return", "random"),
        {"subsets": 10, "embedding_dim": 2},
        {"trap": (above(0.75), below(0.75)), "stitch": (RECORDED, RECORDED)},
        apart=True,
        slow=True,
    ),
    Case(
        "armor",
        "bellman_weight",
        (10.0, 1.0, 100.0),
        {"model": "adversarial"},
        {"trap": (above(0.75), above(0.52), above(0.75)), "stitch": (above(-0.6), above(-0.7), above(-0.6))},
    ),
    Case(
        "armor",
        "bellman_weight",
        (10.0, 1.0, 100.0),
        {"model": "fixed"},
        {"trap": (below(-2.0), RECORDED, below(-2.0)), "stitch": (above(-0.6), above(-0.7), above(-0.6))},
        slow=True,
    ),
    Case(
        "morel",
        "threshold_scale",
        (5.0, 1000.0),
        MODEL_ROWS | {"halt_penalty": 1.0, "threshold_rule": "mean_std"},
        {"trap": (above(0.7), below(-4.0)), "stitch": (above(-0.5), above(-0.5))},
    ),
    Case(
        "rambo",
        "adversary_lr",
        (3e-4, 1e-9),  # the second leaves the model as it was given
        {"adversary_weight": 0.1, "adversary_steps": 100, "pretrain_epochs": 5},
        {"trap": (above(0.7), below(-4.0)), "stitch": (above(-0.5), above(-0.5))},
        steps=4500,
        slow=True,
    ),
    Case(
        "mobile",
        "penalty_weight",
        (1.0, 0.5, 0.0),
        UNFLOORED,
        {
            "trap": (above(0.8), above(0.8), below(-4.0)),
            "stitch": (above(-0.5), above(-0.5), above(-0.5)),
            "noisy": (value(-7.906), value(-3.953), value(0.0)),  # -beta std(c) / (1 - gamma)
        },
    ),
]


def label(case: Case) -> str:
    """The system and what is varied, with the setting that tells two such cases apart."""
    kind = next((f" ({case.own[name]})" for name in ("model", "penalty") if name in case.own), "")
    return f"{case.system}{kind}: {case.setting}"


class Result(NamedTuple):
    """What one value of a case reached on one problem."""

    value: Any
    outcome: Outcome
    claim: Claim

    @property
    def seeds(self) -> Numbers:
        """What the claim is about: [seeds]."""
        return self.outcome.reward if self.claim.quantity == "reward" else self.outcome.metrics["q"]


def train(case: Case) -> dict[str, list[Result]]:
    """The case on each of its problems, with every value."""
    probes = [PROBES[name]() for name in case.claims]
    if case.apart:
        tables = [solve(case.system, case.own | {case.setting: v}, probes, case.steps, case.seeds) for v in case.values]
        found = [[outcome for (outcome,) in row] for row in zip(*tables, strict=True)]
    else:
        found = solve(case.system, case.own, probes, case.steps, case.seeds, case.setting, case.values)
    rows = zip(case.claims.items(), found, strict=True)
    return {name: list(map(Result, case.values, outcomes, claims)) for (name, claims), outcomes in rows}
