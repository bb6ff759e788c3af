"""Runs workers on this machine, one fresh process for each program, so that its memory and failures are its own.

One slot runs one program at a time. A slot is a GPU, named before the process imports jax, or an equal share of the
cores.
"""

import os
import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from offline_mbrl.errors import UserError
from offline_mbrl.launch.executor import Executor
from offline_mbrl.launch.process import run_worker
from offline_mbrl.launch.task import Call, Ended, refuse_twins
from offline_mbrl.machine import available_cores
from offline_mbrl.stopping import stop_requested


@dataclass(frozen=True)
class Slot:
    """What one job at a time may use: a GPU by its number, or some cores."""

    gpu: str | None = None
    cores: str | None = None


def make_slots(count: int, gpus: Sequence[str]) -> list[Slot]:
    """One slot for each GPU named; otherwise `count` slots that share the cores evenly."""
    if gpus:
        refuse_twins(f"GPU {gpu}" for gpu in gpus)
        return [Slot(gpu=gpu) for gpu in gpus]
    if count == 1:
        return [Slot()]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(available_cores()))
    if count > len(cores):
        raise UserError(f"{count} jobs at once need as many cores, and there are {len(cores)}; lower --parallel")
    return [Slot(cores=",".join(map(str, cores[index::count]))) for index in range(count)]


def local_executor(slots: Sequence[Slot]) -> Executor:
    """This machine, one worker at a time in each slot.

    Output goes to the terminal, or to the log in the first job's folder where several run at once.
    """
    free: queue.Queue[Slot] = queue.Queue()
    for slot in slots:
        free.put(slot)
    pool = ThreadPoolExecutor(len(slots))

    def run(call: Call) -> Ended:
        slot = free.get()
        try:
            return _start(call, slot, quiet=len(slots) > 1)
        finally:
            free.put(slot)

    def submit(calls: Sequence[Call]) -> list[Future[Ended]]:
        return [pool.submit(run, call) for call in calls]

    # Workers look at `stop_requested` by themselves.
    return Executor("local", submit, len(slots), close=pool.shutdown, hears_signals=True)


def _start(call: Call, slot: Slot, quiet: bool) -> Ended:
    """One attempt in `slot`."""
    return run_worker(
        call,
        lambda: stop_requested() is not None,
        extra=["--cores", slot.cores] if slot.cores else [],
        environment={"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {},
        quiet=quiet,
    )
