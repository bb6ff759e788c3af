"""`coverage`: how far a run's policies leave their data."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.ranges import in_range


def register(app: Commands) -> None:
    """Adds the command to the command line."""
    app.command(coverage)


def coverage(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    rows: int = 2000,
    episodes: int = 5,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Measure how far a run's policies leave their data, so that a failure can be read as extrapolation.

    Distances are those of state-action pairs to the nearest ones of the data; the record and a picture of the states
    are kept in the run's folder.

    For example:

      offline-mbrl coverage results/td3_bc-hopper-medium-0123456789ab

    Args:
      run: the run's folder.
      rows: pairs of each kind, at most.
      episodes: of each policy in the simulator.
      data_dir: where official data files are.
      cache_dir: where generated data are kept.
    """
    in_range(2, rows=rows)
    in_range(1, episodes=episodes)

    from offline_mbrl.behavior.coverage import Plan, cover_run
    from offline_mbrl.behavior.coverage_table import coverage_table
    from offline_mbrl.model_error.table import markdown
    from offline_mbrl.training.job import Paths

    print(markdown(*coverage_table(cover_run(run, Plan(rows, episodes), Paths(data_dir, cache_dir)))))
