"""What an executor costs for each job: from handing a call over to hearing of its end, without what the worker does.

    python benchmarks/executors.py --executor local|ray|slurm [--ray-address HOST:PORT] [--partition NAME]

The worker is asked for its help text, which takes an interpreter's start and no more; the same command run directly is
taken off. One call at a time gives the latency, many at once the rate at which an engine takes and ends them.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes

from offline_mbrl.cli.engines import Engine, EngineOptions, Place
from offline_mbrl.launch.executor import Executor
from offline_mbrl.launch.task import Call


def seconds(function: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def idle_call(folder: Path) -> Call:
    """A call whose worker ends at once."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").touch()
    return Call("idle", (folder,), ("--help",))


def direct() -> None:
    """The same worker without an executor."""
    command = [sys.executable, "-m", "offline_mbrl.launch.worker", "--help"]
    subprocess.run(command, capture_output=True, check=True)


def await_all(executor: Executor, calls: list[Call]) -> None:
    """Submits and waits."""
    for promise in executor.submit(calls):
        ended = promise.result(timeout=600)
        assert ended.code == 0, ended


def measure(
    executor: Engine = "local",
    engine: Annotated[EngineOptions, OmitArgPrefixes] = EngineOptions(),  # noqa: B008, it is frozen
    parallel: int | None = None,
    calls: int = 12,
    repeats: int = 5,
    out: Path | None = None,
) -> None:
    """Prints one line of JSON: seconds for an executor's start, for one call, and for each of many at once."""
    with TemporaryDirectory(dir=out) as scratch:
        folder = Path(scratch)
        bare = statistics.median(seconds(direct) for _ in range(repeats))
        began = time.perf_counter()
        place = Place(executor, folder, parallel, 2, (), engine).executor()
        started = time.perf_counter() - began
        call = idle_call(folder / "one")
        await_all(place, [call])  # an engine's first task starts its processes
        one = statistics.median(seconds(lambda: await_all(place, [call])) for _ in range(repeats))
        many = seconds(lambda: await_all(place, [idle_call(folder / str(number)) for number in range(calls)]))
        place.close()
    row = {
        "start_s": started,
        "worker_alone_s": bare,
        "overhead_of_one_s": one - bare,
        f"each_of_{calls}_s": many / calls,
    }
    print(json.dumps({"executor": executor} | {name: round(value, 3) for name, value in row.items()}))


if __name__ == "__main__":
    tyro.cli(measure)
