"""What is made of finished runs: tables, figures, comparisons, and scores as data."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.ranges import in_range

Runs = Annotated[Positional[tuple[Path, ...]], arg(metavar="RUNS...")]
Form = Literal["md", "csv", "latex", "html"]
Markup = Literal["md", "latex", "html"]
Diverged = Literal["count", "survivors"]
Rule = Literal["last-ten", "median-of-fifty", "last"]
RESULTS = (Path("results"),)


def table(
    runs: Runs = RESULTS,
    format: Form = "md",
    published: str = "builtin",
    sort: str = "name",
    only: tuple[str, ...] = (),
    digits: int = 1,
    diverged: Diverged = "count",
    pool: bool = False,
    rule: Rule = "last-ten",
) -> None:
    """Print the normalized scores of all runs below some folders, with aggregates over tasks and published scores.

    For example:

      offline-mbrl table results/bench
      offline-mbrl table results --format latex --published none > scores.tex
      offline-mbrl table results --only mopo combo "hopper-*" --sort iqm

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      format: Markdown, CSV (one line per cell, full precision), LaTeX or HTML.
      published: other people's scores: builtin, none, or a CSV of the same columns.
      sort: name, mean, median, iqm, gap, rank, or a task.
      only: algorithms and tasks to show, or patterns of them.
      digits: behind the point.
      diverged: count lost seeds with their last score, or show the survivors' mean.
      pool: make one row of seeds of other devices, precisions, versions and commits; the caption says so.
      rule: what a seed's evaluations make: mean of the last ten, median of the last fifty (ATAC), or the last (D4RL).
    """
    in_range(0, 12, digits=digits)

    from offline_mbrl.results.published import find_published
    from offline_mbrl.results.tables import Options
    from offline_mbrl.results.tables import table as make_table

    print(make_table(runs, format, find_published(published), Options(pool, diverged, sort, only, digits, rule)))


def verdict(
    runs: Runs = RESULTS, published: str | None = None, format: Markup = "md", digits: int = 1, rule: Rule = "last-ten"
) -> None:
    """Print ours beside what was published: for each cell the difference and whether it lies within their interval.

    For example:

      offline-mbrl verdict results/mopo/penalties
      offline-mbrl verdict results --published builtin

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      published: builtin, a CSV of the same columns, or a suite, whose numbers are meant; each job's suite when absent.
      format: Markdown, LaTeX or HTML.
      digits: behind the point.
      rule: what a seed's evaluations make: mean of the last ten, median of the last fifty (ATAC), or the last (D4RL).
    """
    in_range(0, 12, digits=digits)

    from offline_mbrl.launch.reproduction import verdict_table

    print(verdict_table(runs, published, format, digits, rule))


def plot(
    runs: Runs = RESULTS,
    out: Path = Path("curves.png"),
    kind: Literal["curves", "aggregates", "over-steps", "profiles", "improvement"] = "curves",
    center: Literal["mean", "iqm"] = "mean",
    band: Literal["interval", "seeds"] = "interval",
    baseline: str | None = None,
    paper: bool = False,
    sort: str = "name",
    only: tuple[str, ...] = (),
    diverged: Diverged = "count",
    pool: bool = False,
) -> None:
    """Draw the runs below some folders: learning curves, aggregates, profiles or probabilities of improvement.

    For example:

      offline-mbrl plot results/bench --out curves.png
      offline-mbrl plot results --kind aggregates --paper --out aggregates.pdf
      offline-mbrl plot results --kind improvement --baseline mopo --out improvement.svg

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      out: the PNG, PDF or SVG to write.
      kind: what to draw.
      center: the line of a curve: mean or interquartile mean over seeds.
      band: around it: a 95 % interval, or from the lowest to the highest seed.
      baseline: what improvements are held against.
      paper: sizes and type for a paper of two columns.
      sort: name, mean, median, iqm, gap, rank, or a task.
      only: algorithms and tasks to draw, or patterns of them.
      diverged: count lost seeds with their last score, or draw the survivors alone.
      pool: make one line of seeds of other devices, precisions, versions and commits.
    """
    from offline_mbrl.results.plots import Drawing
    from offline_mbrl.results.plots import plot as draw
    from offline_mbrl.results.tables import Options

    drawing = Drawing(kind, center, band, baseline, paper)
    print(draw(runs, out, drawing, Options(pool, diverged, sort, only)))


def compare(
    runs: Runs = RESULTS,
    *,
    baseline: str,
    format: Form = "md",
    only: tuple[str, ...] = (),
    digits: int = 1,
    diverged: Diverged = "count",
    pool: bool = False,
) -> None:
    """Hold every algorithm against one of them: differences, probability of improvement, seeds that would tell.

    For example:

      offline-mbrl compare results --baseline mopo

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      baseline: an algorithm, or the label of its row where it has several.
      format: Markdown, CSV, LaTeX or HTML.
      only: algorithms and tasks to compare, the baseline among them, or patterns.
      digits: behind the point.
      diverged: count lost seeds with their last score, or compare the survivors alone.
      pool: make one row of seeds of other devices, precisions, versions and commits; the caption says so.
    """
    in_range(0, 12, digits=digits)

    from offline_mbrl.results.compare_table import compare as make_comparison
    from offline_mbrl.results.tables import Options

    print(make_comparison(runs, baseline, format, Options(pool, diverged, "name", only, digits)))


def export(
    runs: Runs = RESULTS,
    out: Path = Path("scores.parquet"),
    schema: bool = False,
    policy: Path | None = None,
    seed: int | None = None,
    variant: str | None = None,
) -> None:
    """Write the scores of all runs below some folders as one file of data; or one run's policy.

    A policy's file is read with NumPy alone (`om.load_policy`), or is an ONNX model; its card is written beside it.

    For example:

      offline-mbrl export results --out scores.parquet
      offline-mbrl export --schema
      offline-mbrl export results/mopo-hopper-medium-0123456789ab --policy policy.npz
      offline-mbrl export results/mopo-hopper-medium-0123456789ab --policy policy.onnx --seed 3

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      out: the Parquet or CSV file to write.
      schema: print the JSON schema of a row instead.
      policy: the .npz or .onnx file to write the policy of a run to, instead of scores.
      seed: of the policy; the run's first when absent.
      variant: the way of acting of the policy, for systems that have several; the run's own when absent.
    """
    if policy is not None:
        from offline_mbrl.results.policies import write_policy

        print("\n".join(map(str, write_policy(_only_run(runs), policy, seed, variant))))
        return

    from offline_mbrl.results.evaluation_rows import schema as row_schema
    from offline_mbrl.results.scores_file import export_scores

    print(row_schema() if schema else export_scores(runs, out))


def import_(scores: Annotated[Positional[Path], arg(metavar="SCORES")], out: Path = Path("results/imported")) -> None:
    """Make a results folder of an exported file, so that tables and comparisons read it like runs.

    For example:

      offline-mbrl import scores.parquet --out results/imported

    Args:
      scores: a Parquet or CSV file that `export` wrote.
      out: the folder; what was imported before stays.
    """
    from offline_mbrl.results.scores_file import import_scores

    seeds, new = import_scores(scores, out)
    print(f"{out}: {seeds} seeds, {new} of them new")


def push(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    repository: Annotated[Positional[str], arg(metavar="OWNER/NAME")],
    private: Annotated[bool, FlagCreatePairsOff] = False,
) -> None:
    """Upload a run's policies, with their card and scores, to the Hugging Face Hub, by your own login there.

    Log in first with `hf auth login`, or set HF_TOKEN.

    For example:

      offline-mbrl push results/mopo-hopper-medium-0123456789ab me/mopo-hopper-medium

    Args:
      run: the run's folder.
      repository: of the Hub, made where there is none.
      private: make it for yourself alone.
    """
    from offline_mbrl.results.hub import push as push_run

    print(push_run(run, repository, private))


def _only_run(runs: tuple[Path, ...]) -> Path:
    from offline_mbrl.errors import UserError
    from offline_mbrl.storage.records import find_jobs

    found = find_jobs(runs)
    if len(found) > 1:
        raise UserError(f"{len(found)} runs are there; name the folder of the one whose policy is wanted")
    return found[0]


def register(app: Commands) -> None:
    """Adds these commands to `app`."""
    for command in (table, verdict, plot, compare, export, push):
        app.command(command)
    app.command(name="import")(import_)
