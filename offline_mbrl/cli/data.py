"""`offline-mbrl data ...`: make, inspect and fetch data sets."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics

app = Commands("Make, inspect, fetch and exchange data sets.")

TaskName = Annotated[Positional[str], arg(metavar="TASK")]
RobotName = Annotated[Positional[str], arg(metavar="ROBOT")]


@app.command
def build(
    task: TaskName, size: int | None = None, physics: Physics = DEFAULT_PHYSICS, cache_dir: Path | None = None
) -> None:
    """Generate a builtin data set now, so that training finds it.

    For example:

      offline-mbrl data build hopper-medium --size 100000

    Args:
      task: one of `offline-mbrl tasks`.
      size: rows; D4RL's number when absent.
      physics: of the simulator.
      cache_dir: where it is kept.
    """
    from offline_mbrl.data.source import load
    from offline_mbrl.data.summary import describe

    print(describe(load(task, "builtin", size, physics, cache_dir=cache_dir)))


@app.command
def stats(
    task: TaskName,
    source: str = "builtin",
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Show rows, episodes, how they end, returns and scores of a data set.

    For example:

      offline-mbrl data stats hopper-medium-replay --size 100000 --plot returns.png
      offline-mbrl data stats hopper-medium --source d4rl --data-dir ~/d4rl

    Args:
      task: one of `offline-mbrl tasks`.
      source: builtin, policy:FILE, d4rl, d4rl:FILE, minari, minari:ID or synthetic.
      size: rows of generated data; D4RL's number when absent.
      physics: of generated data.
      data_dir: where official files are.
      cache_dir: where generated data are kept.
      plot: where to write a histogram of the returns: .png, .pdf or .svg.
    """
    from offline_mbrl.data.plots import return_histogram
    from offline_mbrl.data.source import load
    from offline_mbrl.data.summary import describe

    dataset = load(task, source, size, physics, data_dir, cache_dir)
    print(describe(dataset))
    if plot:
        print(f"histogram: {return_histogram(dataset, plot)}")


@app.command
def card(
    robot: RobotName,
    official: Path | None = None,
    rows: int | None = None,
    out: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Generate a robot's builtin sets, measure them, and print their data card.

    For example:

      offline-mbrl data card hopper --official ~/d4rl/hopper_medium-v2.hdf5 --out hopper.md

    Args:
      robot: halfcheetah, hopper or walker2d.
      official: an official medium file, or a part of one, to compare the medium set with, dimension by dimension.
      rows: of every set; D4RL's numbers when absent.
      out: the file to write the card to, in place of printing it.
      cache_dir: where generated data are kept.
    """
    from offline_mbrl.behavior.cards import measure, render
    from offline_mbrl.storage.files import write_text, writing
    from offline_mbrl.tasks import get_robot

    text = render(measure(get_robot(robot), rows, official, cache=cache_dir))
    if out is None:
        print(text, end="")
    else:
        with writing(out, "choose another --out"):
            write_text(out, text)
        print(out)


@app.command
def download(task: TaskName, data_dir: Path | None = None, mirror: tuple[str, ...] = ()) -> None:
    """Fetch the official D4RL v2 file of a task, or of all; downloads resume, size and checksum are verified.

    For example:

      offline-mbrl data download hopper-medium --data-dir ~/d4rl
      offline-mbrl data download all --mirror https://example.org/d4rl

    Args:
      task: one of `offline-mbrl tasks`, or all.
      data_dir: where to put it; $D4RL_DATASET_DIR or ~/.d4rl/datasets when absent.
      mirror: addresses of folders to try first, then those of $D4RL_MIRRORS, then the official one.
    """
    from offline_mbrl.data.d4rl import download as downloads
    from offline_mbrl.tasks import TASKS, get_task

    for one in TASKS.values() if task.lower() == "all" else [get_task(task)]:
        print(downloads.download(one, data_dir, mirrors=mirror))


@app.command(name="import")
def import_(file: Annotated[Positional[Path], arg(metavar="FILE")], data_dir: Path | None = None) -> None:
    """Check an official D4RL file that you have and copy it to where training looks.

    For example:

      offline-mbrl data import ~/Downloads/hopper_medium-v2.hdf5

    Args:
      file: an official HDF5 file.
      data_dir: where to put it; $D4RL_DATASET_DIR or ~/.d4rl/datasets when absent.
    """
    from offline_mbrl.data.d4rl.files import import_file

    print(import_file(file, data_dir))


@app.command
def extract_policy(
    file: Annotated[Positional[Path], arg(metavar="FILE")], out: Annotated[Positional[Path], arg(metavar="OUT")]
) -> None:
    """Take the policy out of an official D4RL file, to make data of any size from it.

    For example:

      offline-mbrl data extract-policy ~/d4rl/hopper_medium-v2.hdf5 hopper.npz
      offline-mbrl data stats hopper-medium --source policy:hopper.npz --size 100000

    Args:
      file: an official medium or expert HDF5 file.
      out: the .npz archive to write.
    """
    from offline_mbrl.data.d4rl.policy import extract

    print(extract(file, out))


@app.command
def verify(data_dir: Path | None = None, cache_dir: Path | None = None) -> None:
    """Compare the D4RL files on this machine with the official checksums.

    Args:
      data_dir: where official files are, besides the usual places.
      cache_dir: where earlier findings are kept.
    """
    import sys

    from offline_mbrl.data.d4rl.files import verify as verify_files

    checks = list(verify_files(data_dir, cache_dir))
    for check in checks:
        print(f"{'ok  ' if check.official else 'FAIL'}  {check.path}: {check.reason or 'official'}")
    if not checks:
        print("no D4RL file was found; `offline-mbrl data download TASK` fetches one")
    sys.exit(0 if all(check.official for check in checks) else 1)


@app.command
def collect(
    robot: RobotName,
    epochs: int = 1000,
    seed: int = 0,
    batch_size: int = 256,
    physics: Physics = DEFAULT_PHYSICS,
    out: Path | None = None,
) -> None:
    """Train behavior policies with online SAC, epoch by epoch of 1000 steps, and keep a ladder of snapshots.

    The same command goes on where a stopped one was, and on to more epochs.

    For example:

      offline-mbrl data collect hopper --epochs 500

    Args:
      robot: halfcheetah, hopper or walker2d.
      epochs: of 1000 environment steps and gradient steps each, in all.
      seed: of the run.
      batch_size: rows of one gradient step.
      physics: of the simulator.
      out: the run's folder; results/collect/<robot>-<seed> when absent.
    """
    from offline_mbrl.behavior.collect import collect_with_progress, with_batch_size
    from offline_mbrl.tasks import get_robot

    body, config = get_robot(robot), with_batch_size(batch_size)
    folder = out or Path("results/collect") / f"{body.name}-{seed}"
    collect_with_progress(body, folder, epochs, seed=seed, physics=physics, config=config)
    print(folder)


@app.command
def pack(
    robot: RobotName,
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    out: Annotated[Positional[Path], arg(metavar="OUT")],
    medium: int | None = None,
    expert: int | None = None,
) -> None:
    """Choose medium, expert and replay policies among a run's snapshots and write them as builtin weights.

    For example:

      offline-mbrl data pack hopper results/collect/hopper-0 weights

    Args:
      robot: whose policies they are.
      run: the folder that `data collect` wrote.
      out: the folder of the weights.
      medium: environment steps of the medium policy; judged over 100 episodes when absent.
      expert: environment steps of the expert; judged over 100 episodes when absent.
    """
    from offline_mbrl.behavior.choose import pack as pack_policies
    from offline_mbrl.tasks import get_robot

    print(pack_policies(get_robot(robot), run / "snapshots", out, medium=medium, expert=expert))


@app.command
def export(
    task: TaskName,
    dataset_id: Annotated[Positional[str], arg(metavar="ID")],
    source: str = "builtin",
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Write a data set as a Minari set on this machine.

    For example:

      offline-mbrl data export hopper-medium own/hopper-medium-v0 --size 100000

    Args:
      task: one of `offline-mbrl tasks`.
      dataset_id: the Minari name, such as own/hopper-medium-v0.
      source: builtin, policy:FILE, d4rl, d4rl:FILE or synthetic.
      size: rows of generated data; D4RL's number when absent.
      physics: of generated data.
      data_dir: where official files are.
      cache_dir: where generated data are kept.
    """
    from offline_mbrl.data.source import load, minari_module

    to_minari = minari_module().to_minari
    print(to_minari(load(task, source, size, physics, data_dir, cache_dir), dataset_id))
