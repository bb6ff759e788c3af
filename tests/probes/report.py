"""Trains all cases and prints their table in Markdown: `python -m tests.probes.report [--seeds 16]`."""

import tyro
from tabulate import tabulate

from tests.probes.cases import CASES, Case, Result, label, train
from tests.probes.problems import PROBES

HEADERS = ("system: what is varied", "values", *PROBES)
ANSWERS = {"trap": "1.00", "stitch": "-0.35", "noisy": "-p / (1 - gamma)", "ridge": "1.00"}


def cell(results: list[Result]) -> str:
    """For each value the mean over seeds, and in brackets the seed that ended lowest."""
    return " / ".join(f"{result.seeds.mean():.2f} [{result.seeds.min():.2f}]" for result in results)


def row(case: Case, seeds: int | None) -> tuple[str, ...]:
    """A line of the table: problems without a claim stay empty."""
    found = train(case._replace(seeds=seeds or case.seeds))
    values = " / ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in case.values)
    return (label(case), values, *(cell(found[name]) if name in found else "" for name in PROBES))


def main(seeds: int | None = None) -> None:
    """Print the table.

    Args:
      seeds: of every case, from 0; as many as its test has when absent.
    """
    answers = ("the answer", "", *(ANSWERS[name] for name in PROBES))
    lines = [row(case, seeds) for case in CASES]
    print(tabulate([answers, *lines], HEADERS, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    tyro.cli(main)
