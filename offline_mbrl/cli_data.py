"""`offline-mbrl data ...`: make, inspect and fetch data sets."""

from pathlib import Path


import tyro
from tyro.conf import Positional

from offline_mbrl.tasks import Physics

app = tyro.extras.SubcommandApp()


@app.command
def build(
    task: Positional[str], size: int | None = None, physics: Physics = "d4rl-v2", cache_dir: Path | None = None
) -> None:
    """Generate a builtin data set now, so that training finds it.

    Example: offline-mbrl data build hopper-medium --size 100000

    Args:
      task: one of `offline-mbrl tasks`.
      size: rows; D4RL's number when absent.
      physics: of the simulator.
      cache_dir: where it is kept.
    """
