"""A system ready to run: an algorithm with its settings, for one task and a number of gradient steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from offline_mbrl.algorithms.algorithm import Algorithm, Definition
from offline_mbrl.algorithms.presets import resolve, validate
from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.config import Config, with_numbers
from offline_mbrl.data.dataset import Dataset, to_device
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.tasks import Task
from offline_mbrl.training.loop import Numbers
from offline_mbrl.types import Data, Problem


@dataclass(frozen=True)
class System:
    """What trains: nothing here depends on data or seeds."""

    definition: Definition
    task: Task
    config: Config
    steps: int  # gradient steps of a whole run

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def problem(self) -> Problem:
        """The static facts of the task."""
        return problem_of(self.task.robot)

    @cached_property
    def algorithm(self) -> Algorithm:
        """Its pure functions, for one seed."""
        return self.build({})

    @property
    def pretraining(self) -> Mapping[str, Pretraining]:
        """What is fitted to the data before the first step, by name."""
        return self.definition.pretraining(self.problem, self.config, self.steps)

    def rows(self, data: Dataset) -> Data:
        """The data on the device; where a world model is fitted, only rows whose next observation is known."""
        return to_device(data, only_known_next=self.definition.uses_model(self.config))

    def build(self, numbers: Numbers) -> Algorithm:
        """Its functions with other values of some numeric settings, which may be traced."""
        return self.definition.build(self.problem, with_numbers(self.config, numbers), self.steps)


def make_system(
    algorithm: str,
    task: Task,
    steps: int | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> System:
    """The system `algorithm` on `task` with its presets.

    Args:
      algorithm: a registered name.
      task: what it is trained for.
      steps: gradient steps; the published number when None.
      preset: a named alternative of the algorithm's settings.
      overrides: settings laid over the presets; nested ones as "dynamics.patience".

    Raises:
      UserError: an unknown name (the nearest is suggested), a value of the wrong type or out of range.
    """
    definition = get_definition(algorithm)
    resolved = resolve(definition, task.name, preset, dict(overrides or {}))
    return System(definition, task, resolved.config, resolved.steps if steps is None else steps)


def configured(algorithm: str, task: Task, config: Mapping[str, Any], steps: int) -> System:
    """The system of a record: every setting is given."""
    definition = get_definition(algorithm)
    return System(definition, task, validate(definition, dict(config)), steps)
