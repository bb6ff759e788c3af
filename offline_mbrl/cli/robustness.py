"""`robustness`: what policies are worth under other physics, attacked observations and bad sensors."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.ranges import in_range

Runs = Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]


def register(app: Commands) -> None:
    """Adds the command to the command line."""
    app.command(robustness)


def robustness(
    runs: Runs,
    what: Literal["physics", "attacks", "sensors", "all"] = "all",
    episodes: int = 10,
    points: int = 10,
    draws: int = 50,
    attacks: tuple[str, ...] = (),
    scope: Literal["whole", "released"] = "whole",
    out: Path | None = None,
    cache_dir: Path | None = None,
    data_dir: Path | None = None,
) -> None:
    """Measure trained policies under changed physics, attacked observations and bad sensors, all systems side by side.

    What was measured before is not measured again.

    For example:

      offline-mbrl robustness results/micro-hopper-medium-0123456789ab
      offline-mbrl robustness results --what attacks --attacks random min_q --points 5 --out robustness

    Args:
      runs: folders that hold runs, at any depth.
      what: friction x gravity and mass, damping, actuators one at a time; attacks; sensors; or all of it.
      episodes: of each point and seed.
      points: on each axis; the grid has their square.
      draws: of an attack that samples.
      attacks: random, action_diff, min_q, pgd_action, pgd_min_q; all that a system can have when absent.
      scope: multiply MuJoCo's defaults too, or as MICRO's released code only what the robot's file spells out.
      out: a folder for tables and pictures.
      cache_dir: where fitted ensembles are kept.
      data_dir: where official data files are.
    """
    in_range(1, 100_000, episodes=episodes, draws=draws)
    in_range(2, 100, points=points)

    from offline_mbrl.results.robustness.write import write_tables
    from offline_mbrl.robustness.protocol import WHAT, Protocol
    from offline_mbrl.robustness.study import study
    from offline_mbrl.storage.records import find_jobs
    from offline_mbrl.training.job import Paths

    protocol = Protocol(WHAT if what == "all" else (what,), episodes, points, draws, scope)
    folders = find_jobs(runs)
    for folder in folders:
        study(folder, protocol, attacks, Paths(data_dir, cache_dir))
    print(write_tables(folders, out))
