"""`model-error`: how far a world model can be trusted."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.ranges import SIDE_BY_SIDE, in_range
from offline_mbrl.cli.settings import settings
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics


def register(app: Commands) -> None:
    """Adds the command to the command line."""
    app.command(name="model-error")(model_error)


def model_error(
    subject: Annotated[Positional[str], arg(metavar="TASK|RUN")],
    source: str = "builtin",
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    algorithm: str = "mopo",
    set_: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")] = (),
    seeds: int = 1,
    rows: int = 500,
    horizon: int = 50,
    samples: int = 5,
    out: Path | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Hold a world model against the true system: open-loop error, endings, calibration, and every penalty.

    For a task the ensemble that an algorithm would fit is fitted, once, and tried under the data's actions and random
    ones. For a run it is what the run fitted, and its own policies act too. What was measured before is not measured
    again.

    For example:

      offline-mbrl model-error hopper-medium-replay --size 100000
      offline-mbrl model-error results/mopo-hopper-medium-0123456789ab

    Args:
      subject: a task, or the folder of a run with a world model.
      source: of a task's data, as for `train`.
      size: rows of generated data; D4RL's number when absent.
      physics: of generated data.
      algorithm: whose ensemble is fitted for a task.
      set_: one of its settings, such as dynamics.members=5; may be repeated.
      seeds: ensembles fitted for a task.
      rows: trajectories, from rows that the fit held out; fewer where it held out fewer.
      horizon: steps of each.
      samples: sampled predictions of each.
      out: the folder of records, tables and pictures; the run's model_error, or results/model_error/<data>.
      data_dir: where official data files are.
      cache_dir: where generated data and fitted ensembles are kept.
    """
    in_range(1, size=size, rows=rows, samples=samples)
    in_range(1, SIDE_BY_SIDE, seeds=seeds)
    in_range(1, 999, horizon=horizon)

    from offline_mbrl.model_error.figures import draw
    from offline_mbrl.model_error.study import Protocol, measure_run, measure_task, read_study
    from offline_mbrl.model_error.table import report
    from offline_mbrl.storage.files import write_text
    from offline_mbrl.training.job import Paths

    protocol, paths = Protocol(rows, horizon, samples), Paths(data_dir, cache_dir)
    if Path(subject).is_dir():
        folder = measure_run(Path(subject), protocol, paths, out)
    else:
        given = (subject, source, size, physics, algorithm, settings(set_), range(seeds))
        folder = measure_task(*given, protocol, paths, out)
    found = read_study(folder)
    write_text(folder / "table.md", report(found))
    for record in found:
        draw(record, folder / f"seed-{record['about']['seed']}.png")
    print(f"{report(found)}\nrecords, tables and pictures: {folder}")
