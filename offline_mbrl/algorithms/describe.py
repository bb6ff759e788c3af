"""What `offline-mbrl algorithms` prints, and `python -m offline_mbrl.algorithms.describe --docs FOLDER` writes."""

import argparse
import shutil
from pathlib import Path

WIDTH = 100
"""Columns that are used at most."""


def list_algorithms() -> str:
    """Every system: name, kind, title, paper."""
    from tabulate import tabulate

    from offline_mbrl.algorithms.summaries import summaries

    rows = [(one.name, one.kind, one.title, one.paper) for one in summaries()]
    headings = ("algorithm", "kind", "title", "paper")
    return tabulate(rows, headings, maxcolwidths=[None, None, 34, 36], disable_numparse=True)


def describe_algorithm(name: str, task: str | None = None) -> str:
    """Everything known of one system, as its page says it; with a task, its settings there."""
    from rich.console import Console

    from offline_mbrl.algorithms.pages import page
    from offline_mbrl.algorithms.terminal import Page

    console = Console(width=min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns))
    with console.capture() as capture:
        console.print(Page(page(name, task)))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def main() -> None:
    """Writes the pages of this package's systems."""
    from offline_mbrl.algorithms.pages import write_pages

    parser = argparse.ArgumentParser(description="Write a page for each system, and an index of them.")
    parser.add_argument("--docs", type=Path, required=True, metavar="FOLDER", help="where they go: docs/algorithms")
    write_pages(parser.parse_args().docs)


if __name__ == "__main__":
    main()
