"""`select`: which of many trained policies to deploy."""

from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.ranges import in_range
from offline_mbrl.cli.results import RESULTS, Runs
from offline_mbrl.cli.settings import settings

Estimator = Literal["fqe", "critics", "model"]


def register(app: Commands) -> None:
    """Adds the command to the command line."""
    app.command(select)


def select(
    runs: Runs = RESULTS,
    estimators: tuple[Estimator, ...] = ("fqe", "critics", "model"),
    discount: float = 0.99,
    fqe_steps: int = 20_000,
    fqe_hidden: tuple[int, ...] = (256, 256),
    starts: int = 100,
    horizon: int = 500,
    penalty: str = "ens_std",
    penalty_weight: float = 1.0,
    model: Annotated[UseAppendAction[tuple[str, ...]], arg(name="model", metavar="KEY=VALUE")] = (),
    episodes: int = 20,
    pulls: int = 200,
    out: Path = Path("results/selection"),
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Choose among trained policies without the simulator, and see in it how good the choice was.

    Candidates are all seeds of all runs, at each kept checkpoint: lanes of a sweep, seeds, or systems, on one task and
    its data. Estimates are kept in the runs' folders; what was estimated before is not estimated again. A bandit's
    curve shows what a budget of episodes would have bought, from the episodes that are stored.

    For example:

      offline-mbrl select results/td3_bc-sweep
      offline-mbrl select results/a results/b --estimators fqe critics --fqe-steps 50000
      offline-mbrl select results/td3_bc-sweep --estimators

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      estimators: fqe, critics (their value at the start, and minus their TD error), model; none for the bandit alone.
      discount: of the value that is estimated.
      fqe_steps: gradient steps of fitted Q evaluation.
      fqe_hidden: widths of its networks.
      starts: first states of the data's episodes that values are averaged over, at most.
      horizon: steps in the model.
      penalty: taken off the model's reward for a second estimate.
      penalty_weight: its weight.
      model: a setting of the model's ensemble, such as dynamics.max_epochs=30; may be repeated.
      episodes: of the simulator, for the true value of each policy.
      pulls: episodes of the bandit.
      out: the folder of the scores, the tables and the picture.
      data_dir: where official data files are.
      cache_dir: where generated data and fitted ensembles are kept.
    """
    in_range(1, fqe_steps=fqe_steps, starts=starts, horizon=horizon, episodes=episodes, pulls=pulls)
    in_range(0, 1, discount=discount)
    in_range(0, penalty_weight=penalty_weight)

    from offline_mbrl.selection.study import select as estimate
    from offline_mbrl.selection.study import settings_of
    from offline_mbrl.storage.records import find_jobs
    from offline_mbrl.training.job import Paths

    folders, studies = find_jobs(runs), []
    if estimators:
        fqe = {"discount": discount, "steps": fqe_steps, "hidden": fqe_hidden}
        asked = settings_of(
            fqe,
            penalty,
            estimators=estimators,
            starts=starts,
            horizon=horizon,
            penalty_weight=penalty_weight,
            episodes=episodes,
        )
        studies = estimate(folders, asked, settings(model), Paths(data_dir, cache_dir))
    _write(folders, studies, pulls, out)


def _write(folders: list[Path], studies: list[dict[str, Any]], pulls: int, out: Path) -> None:
    """The scores, the tables and the picture; prints the tables."""
    from offline_mbrl.selection.bandit import Bandit, bandit_curve
    from offline_mbrl.selection.figures import draw
    from offline_mbrl.selection.pool import pooled_scores
    from offline_mbrl.selection.scores import as_record, candidates, scores
    from offline_mbrl.selection.table import report
    from offline_mbrl.storage.files import write_text
    from offline_mbrl.storage.records import write_json

    policies, bandit = candidates(studies), Bandit(pulls=pulls)
    found, curve = scores(policies), bandit_curve(pooled_scores(folders), bandit)
    text = report(policies, found, curve)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "scores.json", {"scores": as_record(found), "bandit": bandit._asdict() | curve._asdict()})
    write_text(out / "table.md", text)
    draw(policies, curve, out / "selection.png")
    print(f"{text}\nscores, tables and picture: {out}")
