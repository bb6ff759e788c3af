"""`report` and `status`: what a folder of runs says, as a page and in the terminal."""

from pathlib import Path

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.results import RESULTS, Runs


def register(app: Commands) -> None:
    """Adds both commands to the command line."""
    app.command(report)
    app.command(status)


def report(
    runs: Runs = RESULTS,
    out: Path = Path("report.html"),
    published: str = "builtin",
    title: str | None = None,
    pool: bool = False,
) -> None:
    """Write one HTML page about all runs below some folders; it is whole without a network.

    For example:

      offline-mbrl report results/bench --out report.html
      offline-mbrl report results --published none --title "Penalties compared"

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      out: the HTML file to write.
      published: other people's scores to show differences from: `builtin`, `none` or a CSV file.
      title: of the page; the first folder's name when absent.
      pool: give seeds of different devices, versions and commits one row.
    """
    from offline_mbrl.results.published import find_published
    from offline_mbrl.results.report.page import write_report

    print(write_report(list(runs), out, find_published(published), title, pool=pool))


def status(
    runs: Runs = RESULTS,
    suite: str | None = None,
    scale: str | None = None,
    watch: bool = False,
) -> None:
    """Show every job of a sweep: state, progress, rate, time left, last score, failures.

    For example:

      offline-mbrl status results/bench
      offline-mbrl status results/bench --suite experiments/bench.toml --watch

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      suite: the sweep's name or TOML file; its jobs that have not begun are listed too.
      scale: that it runs at.
      watch: stay, and show what changes, until every job is done; Ctrl-C ends it.
    """
    from offline_mbrl.launch.shipped import find_suite, plan_of
    from offline_mbrl.results.status import Planned, short_name, show, watch_jobs

    planned = [
        Planned(job.name, short_name(job.algorithm, job.task, job.id), len(job.seeds), job.steps)
        for job in (plan_of(find_suite(suite, scale))[1] if suite else [])
    ]
    (watch_jobs if watch else show)(list(runs), planned)
