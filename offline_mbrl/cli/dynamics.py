"""`offline-mbrl dynamics ...`: world models as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from tyro.conf import Positional, UseAppendAction, arg

from offline_mbrl.cli.commands import Commands
from offline_mbrl.cli.settings import settings as parse_settings
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import DEFAULT_PHYSICS, Physics

if TYPE_CHECKING:
    from offline_mbrl.data.dataset import Dataset
    from offline_mbrl.pretraining.contract import Pretraining
    from offline_mbrl.pretraining.exchange import Made
    from offline_mbrl.training.system import System

app = Commands("Fit world models, and exchange them as files: train with somebody else's, publish your own.")

NAME = "dynamics"

Algorithm = Annotated[Positional[str], arg(metavar="ALGORITHM")]
TaskName = Annotated[Positional[str], arg(metavar="TASK")]
File = Annotated[Positional[Path], arg(metavar="FILE")]
Settings = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")]


class _Asked(NamedTuple):
    """A system's world model on a data set, and where it is kept."""

    system: "System"
    data: "Dataset"
    pretraining: "Pretraining"
    folder: Path
    made: "Made"


@app.command
def fit(
    algorithm: Algorithm,
    task: TaskName,
    source: str = "builtin",
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    seeds: int = 1,
    set_: Settings = (),
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Fit the world model of an algorithm now, so that training finds it.

    For example:

      offline-mbrl dynamics fit mopo hopper-medium --seeds 4

    Args:
      algorithm: whose model.
      task: one of `offline-mbrl tasks`.
      source: builtin, policy:FILE, d4rl, d4rl:FILE, minari, minari:ID or synthetic.
      size: rows of generated data; D4RL's number when absent.
      physics: of generated data.
      seeds: how many, from 0 on.
      set_: one hyper-parameter, such as dynamics.max_epochs=20; may be repeated.
      data_dir: where official data files are.
      cache_dir: where fits are kept.
    """
    from offline_mbrl.training.experiment import pretrain

    asked = _asked(algorithm, task, source, size, physics, set_, data_dir, cache_dir)
    pretrain(asked.system, asked.data, tuple(range(seeds)), asked.folder.parents[1])
    print(asked.folder)


@app.command
def export(
    algorithm: Algorithm,
    task: TaskName,
    out: File,
    source: str = "builtin",
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    seeds: tuple[int, ...] = (),
    set_: Settings = (),
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Write the fitted world models of an algorithm on a task as one file without pickles.

    For example:

      offline-mbrl dynamics export mopo hopper-medium hopper-medium.npz

    Args:
      algorithm: whose model; algorithms with equal settings of the model share it.
      task: one of `offline-mbrl tasks`.
      out: the .npz file to write.
      source: builtin, policy:FILE, d4rl, d4rl:FILE, minari, minari:ID or synthetic.
      size: rows of generated data; D4RL's number when absent.
      physics: of generated data.
      seeds: whose fits; all that are kept when absent.
      set_: one hyper-parameter, as it was given in training; may be repeated.
      data_dir: where official data files are.
      cache_dir: where fits are kept.
    """
    from offline_mbrl.machine import versions
    from offline_mbrl.pretraining.exchange import export_fit

    asked = _asked(algorithm, task, source, size, physics, set_, data_dir, cache_dir)
    about = {"data": asked.data.name, "source": asked.data.source, "versions": versions()}
    done = export_fit(asked.folder, asked.made, about, out, seeds or None)
    print(f"{out}: seeds {', '.join(map(str, done))}")


@app.command(name="import")
def import_(
    algorithm: Algorithm,
    task: TaskName,
    file: File,
    source: str = "builtin",
    size: int | None = None,
    physics: Physics = DEFAULT_PHYSICS,
    set_: Settings = (),
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Take world models from a file, so that training uses them; only those of these data and settings are taken.

    For example:

      offline-mbrl dynamics import mopo hopper-medium hopper-medium.npz

    Args:
      algorithm: who will use them.
      task: one of `offline-mbrl tasks`.
      file: what `dynamics export` wrote.
      source: builtin, policy:FILE, d4rl, d4rl:FILE, minari, minari:ID or synthetic.
      size: rows of generated data; D4RL's number when absent.
      physics: of generated data.
      set_: one hyper-parameter, as it will be given in training; may be repeated.
      data_dir: where official data files are.
      cache_dir: where fits are kept.
    """
    from offline_mbrl.pretraining.exchange import import_fit, read_head

    read_head(file)  # before the data are loaded
    asked = _asked(algorithm, task, source, size, physics, set_, data_dir, cache_dir)
    new = import_fit(file, asked.folder, asked.pretraining, asked.made, asked.system.rows(asked.data))
    print(f"{asked.folder}: {', '.join(f'seed {seed}' for seed in new) or 'all of them were there'}")


def _asked(
    algorithm: str,
    task: str,
    source: str,
    size: int | None,
    physics: Physics,
    settings: tuple[str, ...],
    data_dir: Path | None,
    cache_dir: Path | None,
) -> _Asked:
    import jax

    from offline_mbrl.data.cache import cache_folder
    from offline_mbrl.data.source import load
    from offline_mbrl.pretraining.exchange import made_of
    from offline_mbrl.pretraining.store import fit_id
    from offline_mbrl.tasks import get_task
    from offline_mbrl.training.system import make_system

    system = make_system(algorithm, get_task(task), overrides=parse_settings(settings))
    if NAME not in system.pretraining:
        raise UserError(f"{system.name} fits no world model; name a model-based algorithm")
    data = load(task, source, size, physics, data_dir, cache_dir)
    fitted, platform = system.pretraining[NAME], jax.devices()[0].platform
    kept = fit_id(fitted, system.task.name, data.fingerprint, "default", platform)
    made = made_of(NAME, fitted, system.task.name, data.fingerprint)
    return _Asked(system, data, fitted, cache_folder(cache_dir) / NAME / kept, made)
