"""Where the jobs of a sweep run, as the command line says it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from tyro.conf import UseAppendAction, arg

from offline_mbrl.errors import UserError

if TYPE_CHECKING:  # heavy: imported by the commands that need them
    from offline_mbrl.launch.executor import Executor
    from offline_mbrl.launch.on_ray import RayOptions
    from offline_mbrl.launch.on_slurm import SlurmOptions
    from offline_mbrl.launch.task import Options
    from offline_mbrl.training.job import Job

Engine = Literal["local", "ray", "slurm"]

Text = Annotated[str | None, arg(metavar="STR", help_behavior_hint="")]
"""An option that is absent by default, shown as its type alone."""


@dataclass(frozen=True)
class EngineOptions:
    """What a job is given by Ray or Slurm.

    Args:
      ray_address: of the Ray cluster, such as auto or HOST:6379; Ray on this machine alone when absent.
      ray_cpus: cores of a job, for placing it.
      ray_gpus: GPUs of a job, or its share of one.
      ray_memory: also keep the job's estimated memory free for it.
      partition: of the Slurm site.
      account: that Slurm charges.
      constraint: features that Slurm's nodes must have.
      time_limit: minutes of a Slurm job; one that needs longer is requeued and goes on.
      slurm: another option of sbatch or submitit, such as gres=gpu:1 or signal_delay_s=300; may be repeated.
    """

    ray_address: Text = None
    ray_cpus: float = 1.0
    ray_gpus: float = 0.0
    ray_memory: bool = False
    partition: Text = None
    account: Text = None
    constraint: Text = None
    time_limit: int = 60
    slurm: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()

    def for_ray(self) -> RayOptions:
        """Ray's part."""
        from offline_mbrl.launch.on_ray import RayOptions

        return RayOptions(self.ray_address, self.ray_cpus, self.ray_gpus, self.ray_memory)

    def for_slurm(self) -> SlurmOptions:
        """Slurm's part."""
        from offline_mbrl.launch.on_slurm import SlurmOptions

        more = tuple(_pair(text) for text in self.slurm)
        return SlurmOptions(self.partition, self.account, self.constraint, self.time_limit, more)


class Place(NamedTuple):
    """An engine with what is asked of it."""

    engine: Engine
    out: Path
    parallel: int | None  # jobs at once as the command says
    suite_parallel: int  # and as the suite does, for this machine
    gpus: tuple[str, ...]
    options: EngineOptions

    def executor(self) -> Executor:
        """The engine, ready to run jobs."""
        match self.engine:
            case "ray":
                from offline_mbrl.launch.on_ray import ray_executor

                return ray_executor(self.options.for_ray(), self.out.resolve(), self.parallel)
            case "slurm":
                from offline_mbrl.launch.on_slurm import slurm_executor

                return slurm_executor(self.options.for_slurm(), self.out.resolve(), self.parallel)
        from offline_mbrl.launch.local import local_executor, make_slots

        return local_executor(make_slots(self.slots(), self.gpus))

    def slots(self) -> int:
        """Jobs at once, as far as is known before the engine is asked."""
        from offline_mbrl.launch.executor import UNKNOWN_SLOTS
        from offline_mbrl.machine import available_cores

        if self.engine == "slurm":
            return self.parallel or UNKNOWN_SLOTS
        if self.engine == "ray":
            return self.parallel or 1
        if self.gpus:
            return len(self.gpus)
        return min(self.suite_parallel, available_cores()) if self.parallel is None else self.parallel

    def accelerated(self, device: str) -> bool:
        """Whether slots are accelerators, as far as is known before the engine is asked."""
        from offline_mbrl.training.provenance import nvidia_gpus

        if device != "auto":
            return device != "cpu"
        if self.engine != "local":
            return self.engine == "ray" and self.options.ray_gpus > 0
        return bool(self.gpus or nvidia_gpus())

    def script(self, jobs: Sequence[Job], options: Options) -> str:
        """The sbatch script of the first array: the tasks that wait for none."""
        if self.engine != "slurm":
            raise UserError("--print-script is for --executor slurm")
        from offline_mbrl.launch.on_slurm import script
        from offline_mbrl.launch.plan import make_plan

        first = [task for task in make_plan(jobs, self.out, options, self.slots()) if not task.needs]
        return script(self.options.for_slurm(), self.out, self.parallel, len(first))


def _pair(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UserError(f"--slurm needs KEY=VALUE, not '{text}'")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
