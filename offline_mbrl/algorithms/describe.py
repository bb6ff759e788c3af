"""What `offline-mbrl algorithms` shows: every algorithm with its equation, settings, their sources, and deviations."""

from tabulate import tabulate

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.algorithms.presets import default_source, preset_names, resolve, settings
from offline_mbrl.algorithms.registry import definitions, get_definition
from offline_mbrl.config import Config
from offline_mbrl.tasks import TASKS, get_task

NO_TASK = ""


def list_algorithms() -> str:
    """One line for each algorithm: name, title, paper."""
    rows = [(d.name, d.title, d.paper, _kind(d)) for d in definitions().values()]
    return tabulate(rows, headers=("algorithm", "title", "paper", "kind"))


def _kind(definition: Definition) -> str:
    return "model-free" if not definition.uses_model(definition.config()) else "model-based"


def describe_algorithm(name: str, task: str | None = None) -> str:
    """Everything known of one algorithm, with the settings of `task` or those shared by all tasks."""
    definition = get_definition(name)
    where = get_task(task).name if task else NO_TASK
    heading = f"{definition.title} ({definition.name})\n{definition.paper}\n\n  {definition.equation}"
    parts = [heading, _settings(definition, where)]
    if not task:
        parts.append(_per_task(definition))
    if names := preset_names(name):
        parts.append("Named presets: " + ", ".join(names))
    if definition.deviations:
        lines = [f"- {line}" for line in definition.deviations]
        parts.append("\n".join(["Deviations from the paper or its code:", *lines]))
    return "\n\n".join(part for part in parts if part)


def _settings(definition: Definition, task: str) -> str:
    resolved = resolve(definition, task)
    fields: dict[str, tuple[object, str]] = {"steps": (resolved.steps, "gradient steps of a full run")}
    fields |= flat_fields(resolved.config)
    sources = {name: default_source(definition.name, name) for name in fields} | resolved.sources
    rows = [(name, value, sources[name], text) for name, (value, text) in fields.items()]
    return tabulate(rows, headers=("setting", "value", "source", "meaning"), maxcolwidths=[None, 24, 40, 60])


def _per_task(definition: Definition) -> str:
    """Where the tasks differ from each other, one line for each value."""
    shared = settings(definition.name, NO_TASK)
    rows = [
        (task, name, setting.value, setting.source)
        for task in TASKS
        for name, setting in settings(definition.name, task).items()
        if shared.get(name) != setting
    ]
    return tabulate(rows, headers=("task", "setting", "value", "source")) if rows else ""


def flat_fields(config: Config, prefix: str = "") -> dict[str, tuple[object, str]]:
    """Every setting's value and description; those of nested records as `outer.inner`."""
    found: dict[str, tuple[object, str]] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            found |= flat_fields(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = (value, field.description or "")
    return found
