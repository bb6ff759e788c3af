"""`video` and `track`: a run to be looked at, as a film and in other people's trackers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.ranges import in_range
from offline_mbrl.cli.results import RESULTS, Runs
from offline_mbrl.errors import UserError, warn

Tracker = Literal["tensorboard", "wandb", "trackio"]


def register(app: Commands) -> None:
    """Adds both commands to the command line."""
    app.command(video)
    app.command(track)


def video(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    out: tuple[Path, ...] = (),
    seeds: tuple[int, ...] = (),
    seconds: float = 8.0,
    start: int = 0,
    mean_only: Annotated[bool, FlagCreatePairsOff] = False,
    size: tuple[int, int] = (320, 240),
) -> None:
    """Film the policies of a run, seeds side by side: mean actions above, drawn ones below, the score over them.

    It needs no display. `report` shows the films of a run's folder.

    For example:

      offline-mbrl video results/mopo-hopper-medium-0123456789ab
      offline-mbrl video results/mopo-hopper-medium-0123456789ab --out hopper.mp4 hopper.gif --seeds 0 1

    Args:
      run: the run's folder.
      out: the .mp4 and .gif files to write; video/policy.mp4 in the run's folder when absent.
      seeds: of the run; its first four when absent.
      seconds: of the film, at most.
      start: which start of the episodes.
      mean_only: leave the drawn actions out.
      size: pixels of one picture, width and height; even numbers.
    """
    in_range(0.1, 1000, seconds=seconds)
    in_range(16, 1920, width=size[0], height=size[1])
    if size[0] % 2 or size[1] % 2:
        raise UserError(f"--size {size[0]} {size[1]}: films have even numbers of pixels")

    from offline_mbrl.results.video import video as film

    print("\n".join(map(str, film(run, out, seeds, seconds, start, not mean_only, size))))


def track(
    runs: Runs = RESULTS,
    *,
    to: Tracker,
    out: Path = Path("tracked"),
    project: str = "offline-mbrl",
) -> None:
    """Send the records of runs to a tracker; a run that went on meanwhile is sent again as a whole.

    For example:

      offline-mbrl track results --to tensorboard --out tracked && tensorboard --logdir tracked
      WANDB_MODE=offline offline-mbrl track results --to wandb

    Args:
      runs: folders that hold runs, at any depth; results when absent.
      to: tensorboard, wandb or trackio.
      out: where TensorBoard's files go, and what the others keep on this machine.
      project: what W&B and trackio file the runs under.
    """
    from offline_mbrl.results.track import send

    print(send(runs, to, out, project))


@contextmanager
def following(folder: Path, trackers: tuple[Tracker, ...]) -> Iterator[None]:
    """Sends what is recorded in `folder` within the block to `trackers`, if there are any."""
    if not trackers:
        yield
        return
    from offline_mbrl.results.track import follow

    with follow(folder, trackers, folder / "tracked", "offline-mbrl"):
        yield


def film_if_possible(folder: Path) -> None:
    """A film of the run; a warning where that fails: the run is done all the same."""
    from offline_mbrl.results.video import video as film

    try:
        film(folder)
    except (UserError, OSError) as error:
        warn(f"there is no film: {error}")
