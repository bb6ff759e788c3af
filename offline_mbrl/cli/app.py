"""The command line: `offline-mbrl <command>`; each command's --help shows examples.

Heavy imports stay inside the commands, so that --help answers at once.
"""

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.coverage import register as register_coverage
from offline_mbrl.cli.data import app as data_app
from offline_mbrl.cli.dynamics import app as dynamics_app
from offline_mbrl.cli.engines import Engine, EngineOptions, Place
from offline_mbrl.cli.model_error import register as register_model_error
from offline_mbrl.cli.ranges import SEEDS, SIDE_BY_SIDE, in_range
from offline_mbrl.cli.report import register as register_reports
from offline_mbrl.cli.results import register
from offline_mbrl.cli.robustness import register as register_robustness
from offline_mbrl.cli.schema import register as register_schema
from offline_mbrl.cli.select import register as register_select
from offline_mbrl.cli.settings import settings
from offline_mbrl.cli.show import Tracker, film_if_possible, following
from offline_mbrl.cli.show import register as register_shows
from offline_mbrl.cli.talk import talk
from offline_mbrl.errors import Level
from offline_mbrl.failures import guarded, leave
from offline_mbrl.precision import Precision
from offline_mbrl.stopping import SAVE_EVERY
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics

app = Commands()
app.group("data", data_app)
app.group("dynamics", dynamics_app)

DESCRIPTION = """Model-based offline reinforcement learning: train, compare and take away.

Each command's --help shows examples; --version tells the version."""

Device = Literal["auto", "cpu", "gpu", "tpu"]


@app.command
def tasks() -> None:
    """List the twelve tasks and the returns that score 0 and 100.

    For example:

      offline-mbrl tasks
    """
    from tabulate import tabulate

    from offline_mbrl.tasks import TASKS

    rows = [
        (task.name, task.robot.obs_dim, task.robot.action_dim, task.robot.random_return, task.robot.expert_return)
        for task in TASKS.values()
    ]
    print(tabulate(rows, headers=("task", "observations", "actions", "return at 0", "return at 100"), floatfmt=".2f"))


@app.command
def algorithms(
    algorithm: Annotated[Positional[str | None], arg(metavar="[ALGORITHM]", help_behavior_hint="")] = None,
    task: str | None = None,
) -> None:
    """List the algorithms, or show one: equation, paper, settings with their sources, deviations.

    For example:

      offline-mbrl algorithms
      offline-mbrl algorithms mopo
      offline-mbrl algorithms mopo --task hopper-medium

    Args:
      algorithm: the one to show; all of them when absent.
      task: show the settings of this task; the defaults when absent.
    """
    from offline_mbrl.algorithms.describe import describe_algorithm, list_algorithms

    print(list_algorithms() if algorithm is None else describe_algorithm(algorithm, task))


@app.command
def train(
    algorithm: Annotated[Positional[str], arg(metavar="ALGORITHM")],
    task: Annotated[Positional[str], arg(metavar="TASK")],
    source: str = "builtin",
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    seeds: int = 1,
    first_seed: int = 0,
    steps: int | None = None,
    evaluate_every: int = 5000,
    episodes: int = 10,
    preset: str | None = None,
    set_: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")] = (),
    precision: Precision = "default",
    device: Device = "auto",
    out: Path | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    checkpoint_every: float = SAVE_EVERY,
    video: Annotated[bool, FlagCreatePairsOff] = False,
    track: tuple[Tracker, ...] = (),
    quiet: Annotated[bool, FlagCreatePairsOff] = False,
    log_level: Level = "info",
) -> None:
    """Train one algorithm on one task, several seeds side by side, and evaluate it in MuJoCo as it goes.

    A stopped run goes on where it was when the same command is given again.

    For example:

      offline-mbrl train mopo hopper-medium
      offline-mbrl train mopo hopper-medium --seeds 4 --steps 100000 --size 100000
      offline-mbrl train mopo walker2d-medium --source d4rl --set penalty=ens_std --set penalty_weight=2

    Args:
      algorithm: one of `offline-mbrl algorithms`.
      task: one of `offline-mbrl tasks`.
      source: builtin, policy:FILE, d4rl, d4rl:FILE, minari, minari:ID or synthetic.
      size: rows of generated data; D4RL's number when absent.
      physics: of the evaluation, and of generated data.
      seeds: how many, trained in one program.
      first_seed: the number of the first.
      steps: gradient steps; the published number when absent.
      evaluate_every: gradient steps between evaluations.
      episodes: episodes of one evaluation.
      preset: a named alternative of the algorithm's settings.
      set_: one hyper-parameter, such as penalty_weight=2 or dynamics.patience=6; may be repeated.
      precision: of float32 matrix products; or mixed, with hidden activations in 16 bits.
      device: auto takes what JAX finds.
      out: the run's folder; results/<algorithm>-<task>-<id> when absent.
      data_dir: where official data files are.
      cache_dir: where generated data and fitted ensembles are kept.
      checkpoint_every: seconds between checkpoints; what a kill costs at most.
      video: film the policies at the end, into the run's folder.
      track: tensorboard, wandb or trackio: send the records there as they come.
      quiet: say nothing but warnings, errors and one line with the score at the end.
      log_level: warning says no more how it goes, error no more warnings; debug adds what is compiled.
    """
    talk("warning" if quiet and log_level == "info" else log_level)
    in_range(1, size=size, steps=steps, evaluate_every=evaluate_every, episodes=episodes)
    in_range(1, SIDE_BY_SIDE, seeds=seeds)
    in_range(0, SEEDS - seeds, first_seed=first_seed)
    in_range(0, checkpoint_every=checkpoint_every)

    from offline_mbrl.launch.work import work
    from offline_mbrl.training.job import Paths, make_job

    job = make_job(
        algorithm,
        task,
        preset=preset,
        steps=steps,
        overrides=settings(set_),
        source=source,
        size=size,
        physics=physics,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        evaluate_every=evaluate_every,
        episodes=episodes,
        precision=precision,
    )
    folder = out or Path("results") / job.name
    with following(folder, track):
        code = work([(job, folder)], Paths(data_dir, cache_dir), device, checkpoint_every)
    if code < 2:
        if video:
            film_if_possible(folder)
        _tell_outcome(folder, quiet)
    sys.exit(code)


@app.command
def suites() -> None:
    """List the suites that come with the package: one for each published table, at several scales.

    For example:

      offline-mbrl suites
    """
    from tabulate import tabulate

    from offline_mbrl.launch.shipped import describe_suites

    print(tabulate(describe_suites(), headers=("suite", "scale", "jobs", "cost", "what it compares")))


@app.command
def sweep(
    suite: Annotated[Positional[str], arg(metavar="SUITE")],
    scale: str | None = None,
    out: Path | None = None,
    parallel: int | None = None,
    gpus: tuple[str, ...] = (),
    lanes: Literal["auto", "off"] = "auto",
    device: Device = "auto",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    checkpoint_every: float = SAVE_EVERY,
    executor: Engine = "local",
    engine: Annotated[EngineOptions, OmitArgPrefixes] = EngineOptions(),  # noqa: B008, it is frozen
    only: tuple[str, ...] = (),
    dry_run: bool = False,
    print_script: bool = False,
) -> None:
    """Run a grid of algorithms, tasks and seeds, and write its tables and curves.

    Finished jobs are skipped, half-done ones resumed, failed ones listed at the end; so the same command goes on with a
    sweep that was stopped.

    For example:

      offline-mbrl sweep experiments/bench.toml
      offline-mbrl sweep mopo/penalties --scale small
      offline-mbrl sweep combo/variants --gpus 0 1 2 3
      offline-mbrl sweep field/scores --only algorithm=mopo task=hopper-* --dry-run
      offline-mbrl sweep field/scores --executor ray --ray-address auto --ray-gpus 0.5
      offline-mbrl sweep field/scores --executor slurm --partition gpu --slurm gres=gpu:1

    Args:
      suite: one of `offline-mbrl suites`, or a TOML file that describes the grid.
      scale: smoke, small or full, where the suite has them; full when absent.
      out: the sweep's folder; results/<name of the suite>/<scale> when absent.
      parallel: jobs at once, which share the cores; the suite's number when absent. On Ray and Slurm: at most.
      gpus: numbers of the GPUs to use, one program at a time on each.
      lanes: auto trains jobs that differ in seeds and numeric settings in one program, on accelerators also those of a
        robot's tasks where the sweep then ends sooner; off, one by one.
      device: what every job must find.
      data_dir: where official data files are.
      cache_dir: where generated data and fitted ensembles are kept.
      checkpoint_every: seconds between checkpoints of each job.
      executor: where jobs run: on this machine, as tasks of a Ray cluster, or as jobs of a Slurm site.
      engine: what Ray or Slurm gives a job.
      only: run a part of the jobs, FIELD=VALUE,VALUE with FIELD algorithm, task, preset or source.
      dry_run: print the jobs with their order, estimated cost and memory, and run nothing.
      print_script: print the sbatch script of the sweep's jobs, and run nothing.
    """
    in_range(1, parallel=parallel)
    in_range(0, checkpoint_every=checkpoint_every)

    from offline_mbrl.launch.choice import choose
    from offline_mbrl.launch.preview import preview
    from offline_mbrl.launch.shipped import find_suite, mark, plan_of, results_folder
    from offline_mbrl.launch.sweep import run_jobs
    from offline_mbrl.launch.task import Options
    from offline_mbrl.training.job import Paths

    request = find_suite(suite, scale)
    plan, jobs = plan_of(request)
    folder = out or results_folder(request)
    place, wanted = Place(executor, folder, parallel, plan.parallel, gpus, engine), choose(jobs, only)
    options = Options(device, checkpoint_every, lanes == "auto", place.accelerated(device))
    if print_script:
        return print(place.script(wanted, options))
    if dry_run:
        return print(preview(wanted, folder, options, place.slots()))
    mark(request, plan, folder, wanted)
    outcomes = run_jobs(wanted, folder, Paths(data_dir, cache_dir), place.executor(), options)
    troubled = [outcome for outcome in outcomes if outcome.problem]
    for outcome in troubled:
        print(f"{outcome.job.name}: {outcome.problem}", file=sys.stderr)
    _write_results(folder, plan.published)
    if request.scale:
        _write_verdicts(folder, request.name)
    sys.exit(1 if troubled else 0)


@app.command
def evaluate(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    episodes: int = 100,
    physics: Physics | None = None,
    seed: int = 0,
    cache_dir: Path | None = None,
    data_dir: Path | None = None,
) -> None:
    """Evaluate the last checkpoint of a run again, or a policy's file: more episodes, or other physics.

    The data need not be at hand. The result is appended to `evaluations.jsonl` of the run, or of the file.

    For example:

      offline-mbrl evaluate results/mopo-hopper-medium-0123456789ab --episodes 100 --physics gymnasium-v4
      offline-mbrl evaluate policy.npz

    Args:
      run: the run's folder, or a file that `export --policy` wrote.
      episodes: for each seed.
      physics: that of the run when absent.
      seed: of the starts.
      cache_dir: where fitted ensembles are kept.
      data_dir: where official data files are.
    """
    in_range(1, episodes=episodes)
    in_range(0, SEEDS // 2 - 1, seed=seed)

    from offline_mbrl.training.job import Paths
    from offline_mbrl.training.reevaluate import reevaluate

    print(reevaluate(run, episodes, physics, seed, Paths(data_dir, cache_dir)))


register(app)
register_reports(app)
register_schema(app)
register_shows(app)
register_model_error(app)
register_select(app)
register_coverage(app)
register_robustness(app)


@app.command
def doctor(data_dir: Path | None = None, cache_dir: Path | None = None) -> None:
    """Check this machine: versions, device, threads, MuJoCo's physics, and where data was looked for.

    For example:

      offline-mbrl doctor

    Args:
      data_dir: where official data files may be.
      cache_dir: where generated data and fitted ensembles are kept.
    """
    from offline_mbrl.cli.doctor import checks

    results = checks(data_dir, cache_dir)
    for check in results:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.finding}")
    sys.exit(0 if all(check.ok for check in results) else 1)


def _tell_outcome(folder: Path, quiet: bool) -> None:
    from offline_mbrl.results.outcome import one_line, outcome

    print(one_line(folder) if quiet else outcome(folder))


def _write_results(folder: Path, published: Path | None) -> None:
    """The tables and the picture of a sweep, in its folder, beside `published` scores; prints the table."""
    from offline_mbrl.results.plots import learning_curves
    from offline_mbrl.results.tables import FORMATS
    from offline_mbrl.results.tables import table as make_table
    from offline_mbrl.storage.files import write_text

    for form in FORMATS:
        write_text(folder / f"table.{'tex' if form == 'latex' else form}", make_table([folder], form, published) + "\n")
    learning_curves([folder], folder / "curves.png")
    print((folder / "table.md").read_text())


def _write_verdicts(folder: Path, suite: str) -> None:
    """Ours beside what the suite's table published, in the sweep's folder; prints it."""
    from offline_mbrl.launch.reproduction import verdict_table
    from offline_mbrl.storage.files import write_text

    text = verdict_table([folder], suite)
    write_text(folder / "verdict.md", text + "\n")
    print(text)


def main() -> None:
    """Runs the command line; every failure is one line on stderr and an exit code (see `failures`)."""
    # TensorStore and XLA log to stderr by themselves; what matters is reported by us.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no terminal is so old that a sign in a table ends the program
            stream.reconfigure(errors="backslashreplace")
    code = guarded(lambda: app.parse("offline-mbrl", DESCRIPTION)())
    if code > 128:  # a signal may have interrupted native code that is not made to end in its middle
        leave(code)
    sys.exit(code)
