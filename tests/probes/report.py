"""Trains all cases and prints their table in Markdown: `python -m tests.probes.report`, a few minutes on one core."""

from tabulate import tabulate

from tests.probes.cases import CASES, Case, Result, label, train
from tests.probes.problems import PROBES

HEADERS = ("system: what is varied", "values", *PROBES)
ANSWERS = {"trap": "1.00", "stitch": "-0.35", "noisy": "-p / (1 - gamma)", "ridge": "1.00"}


def cell(results: list[Result]) -> str:
    """For each value the mean over seeds, and in brackets the seed that ended lowest."""
    return " / ".join(f"{result.seeds.mean():.2f} [{result.seeds.min():.2f}]" for result in results)


def row(case: Case) -> tuple[str, ...]:
    """A line of the table: problems without a claim stay empty."""
    found = train(case)
    values = " / ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in case.values)
    return (label(case), values, *(cell(found[name]) if name in found else "" for name in PROBES))


if __name__ == "__main__":
    answers = ("the answer", "", *(ANSWERS[name] for name in PROBES))
    print(tabulate([answers, *map(row, CASES)], HEADERS, tablefmt="github", disable_numparse=True))
