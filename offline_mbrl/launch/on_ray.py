"""Runs workers as tasks of a Ray cluster (Ray Core; neither Tune nor Train), each in a process of its own.

Ray places them by the cores, GPUs and memory that they are said to take, and names the GPU before the worker imports
jax. A task returns how its worker ended and nothing else: results go to the storage that all nodes share. Ray itself
tries nothing again, so that the rules of a sweep are the same everywhere.
"""

import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offline_mbrl.errors import UserError
from offline_mbrl.launch.executor import Executor
from offline_mbrl.launch.process import local_cache, memory_share, missing_folder, run_worker
from offline_mbrl.launch.task import Call, Ended


@dataclass(frozen=True)
class RayOptions:
    """What a worker takes of a Ray cluster."""

    address: str | None = None  # of the cluster; this machine alone when None
    cpus: float = 1.0  # cores of a worker, for placing it
    gpus: float = 0.0  # GPUs of a worker, or its share of one
    memory: bool = False  # whether Ray keeps the estimated memory free for it


LOCAL = RayOptions()


def ray_executor(options: RayOptions, out: Path, parallel: int | None = None) -> Executor:
    """The cluster at an address, or one that is started on this machine for as long as the sweep lasts.

    Args:
      options: what a worker takes.
      out: the sweep's folder, on storage that all nodes share.
      parallel: workers at a time at most; as many as there is room for when None.

    Raises:
      UserError: Ray is not installed, no cluster answers, or it has no room for a worker.
    """
    ray = _connect(options)
    slots = _slots(ray.cluster_resources(), options)
    # Looked at by every task: Ray's own cancellation would not wait until a worker has saved its state.
    stop_file = out / f".stop-{secrets.token_hex(4)}"
    task = ray.remote(_run_task)
    needs = {"num_cpus": options.cpus, "num_gpus": options.gpus or None, "max_retries": 0}
    waiting: list[tuple[Any, Future[Ended]]] = []

    def submit(calls: Sequence[Call]) -> list[Future[Ended]]:
        return [_promise(start(call), waiting) for call in calls]

    def start(call: Call) -> Any:
        memory = {"memory": call.memory} if options.memory else {}
        return task.options(**needs, **memory, name=call.name).remote(call, str(stop_file), options.gpus)

    def stop() -> None:
        stop_file.parent.mkdir(parents=True, exist_ok=True)
        stop_file.touch()

    def close() -> None:
        stop_file.unlink(missing_ok=True)
        ray.shutdown()

    return Executor("ray", submit, min(slots, parallel or slots), queues=parallel is None, stop=stop, close=close)


def _connect(options: RayOptions) -> Any:
    """Ray, connected."""
    try:
        import ray
    except ImportError:
        raise UserError("--executor ray needs Ray; pip install 'offline-mbrl[ray]'") from None
    local = options.address in (None, "local")
    _probe(options.address or "")
    try:
        ray.init(
            address="local" if local else options.address,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"no Ray cluster at {options.address} ({error}); start one with ray start --head") from error
    return ray


def _probe(address: str) -> None:
    """Raises `UserError` where nobody listens at HOST:PORT; Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()) or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster at {address} ({error.strerror or error}); start one: ray start --head"
        ) from None


def _slots(resources: dict[str, float], options: RayOptions) -> int:
    """How many workers find room at a time in a cluster with these resources."""
    room = [resources.get("CPU", 0.0) / options.cpus] if options.cpus else []
    room += [resources.get("GPU", 0.0) / options.gpus] if options.gpus else []
    slots = int(min(room, default=1.0))
    if not slots:
        have = f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU"
        raise UserError(
            f"the Ray cluster has {have}, which is no room for one job; ask for less with --ray-cpus, --ray-gpus"
        )
    return slots


def _run_task(call: Call, stop_file: str, gpus: float) -> Ended:
    """In a process of Ray's: the worker as a child of it, which ends with it."""
    stop = Path(stop_file)
    if stop.exists():
        return Ended(143, note="not started")
    share = memory_share(gpus) if 0 < gpus < 1 else {}
    return missing_folder(call) or run_worker(call, stop.exists, environment=local_cache() | share)


def _promise(reference: Any, kept: list[tuple[Any, Future[Ended]]]) -> Future[Ended]:
    """How the task behind `reference` will have ended; what its engine did to it is no exception."""
    promise: Future[Ended] = Future()
    kept.append((reference, promise))  # a reference that nobody holds is a result that Ray drops

    def settle(found: Any) -> None:
        with suppress(Exception):
            promise.set_result(_ended(found.result))

    reference.future().add_done_callback(settle)
    return promise


def _ended(result: Callable[[], Ended]) -> Ended:
    import ray.exceptions as problems

    try:
        return result()
    except problems.OutOfMemoryError:
        return Ended(None, memory=True, note="killed by Ray for memory")
    except problems.TaskCancelledError:
        return Ended(None, cancelled=True, note="cancelled in Ray")
    except problems.RayTaskError as error:
        return Ended(70, note=f"a fault in the task: {error.cause or error}".splitlines()[0])
    except problems.RayError as error:
        return Ended(None, note=f"its process or machine was lost ({type(error).__name__})")
