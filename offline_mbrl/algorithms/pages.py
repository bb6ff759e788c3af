"""The page of a system, in Markdown: what its definition and presets say, and the prose beside its module.

A section of the prose that is headed like a generated one stands at the beginning of that.
"""

import json
import re
from collections.abc import Iterable, Sequence
from inspect import get_annotations
from itertools import takewhile
from pathlib import Path

from offline_mbrl.algorithms import prose
from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.algorithms.presets import Setting, default_source, preset_names, resolve, settings
from offline_mbrl.algorithms.registry import get_definition, module_of, own_names, preset_path
from offline_mbrl.algorithms.summaries import summarize
from offline_mbrl.config import Config
from offline_mbrl.storage.files import write_text
from offline_mbrl.tasks import TASKS, get_task

NO_TASK = ""
"""The task of a preset's values for all tasks."""

COLUMNS = 4
"""Settings in one table of tasks."""

Values = dict[str, Setting]
"""Values of settings by their name."""


def write_pages(folder: Path) -> None:
    """A page for every system of this package, and the list of them."""
    for name in own_names():
        write_text(folder / f"{name}.md", page(name))
    write_text(folder / "index.md", index())


def index() -> str:
    """The list of this package's systems."""
    rows = [
        (f"[`{one.name}`]({one.name}.md)", one.kind, one.title, _linked(one.paper), _code(one.equation))
        for one in map(summarize, own_names())
    ]
    return f"# Algorithms\n\n{_table(('system', 'kind', 'title', 'paper', 'equation'), rows)}\n"


def page(name: str, task: str | None = None) -> str:
    """Everything known of a system; for one task its settings there, without the prose."""
    definition = get_definition(name)
    tasks = [get_task(task).name] if task else list(TASKS)
    prose_sections = {"Settings": f"On {tasks[0]}."} if task else prose.sections(definition.name)
    generated = {
        "Settings": _settings(definition, tasks[0] if task else NO_TASK),
        "Tasks": "" if task else _tasks(definition),
        "Presets": _presets(definition, tasks),
        "Deviations": "\n".join(f"- {_plain(line)}" for line in definition.deviations),
    }
    parts = [_heading(definition), prose_sections.get("", "")]
    parts += [
        _section(heading, text) for heading, text in prose_sections.items() if heading and heading not in generated
    ]
    parts += [_section(heading, prose_sections.get(heading, ""), text) for heading, text in generated.items()]
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(heading: str, *texts: str) -> str:
    return "\n\n".join((f"## {heading}", *filter(None, texts))) if any(texts) else ""


def _heading(definition: Definition) -> str:
    kind, file = summarize(definition.name).kind, module_of(definition.name).replace(".", "/")
    about = f"{_linked(definition.paper)}. {kind.capitalize()}; `{file}.py`."
    return f"# {_plain(definition.title)} (`{definition.name}`)\n\n{about}\n\n    {definition.equation}"


def _settings(definition: Definition, task: str) -> str:
    """Every setting, those of the system's own record before those that it inherits."""
    resolved = resolve(definition, task)
    fields = {"steps": (resolved.steps, "gradient steps of a full run")} | _special_first(resolved.config)
    sources = {name: default_source(definition.name, name) for name in fields} | resolved.sources
    rows = [(_code(name), _value(value), sources[name], text) for name, (value, text) in fields.items()]
    table = _table(("setting", "value", "source", "meaning"), rows)
    return "\n\n".join(filter(None, (_about_sources(definition.name), table)))


def _tasks(definition: Definition) -> str:
    """Where the tasks differ from each other."""
    shared = settings(definition.name, NO_TASK)
    return _by_task({task: _changed(settings(definition.name, task), shared) for task in TASKS})


def _presets(definition: Definition, tasks: list[str]) -> str:
    """What each named preset changes: for every task, and for some of `tasks`."""
    parts = []
    for preset in preset_names(definition.name):
        changes = {task: _of_preset(definition, task, preset) for task in (NO_TASK, *tasks)}
        shared = changes.pop(NO_TASK)
        rows = [(_code(name), _value(value), source) for name, (value, source) in shared.items()]
        tables = [_table(("setting", "value", "source"), rows) if rows else ""]
        tables.append(_by_task({task: _changed(values, shared) for task, values in changes.items()}))
        parts.append("\n\n".join((f"### `{preset}`", *filter(None, tables))))
    return "\n\n".join(parts)


def _of_preset(definition: Definition, task: str, preset: str) -> Values:
    """What `preset` changes on `task`; a value that it takes back is the system's own default again."""
    before, after = settings(definition.name, task), settings(definition.name, task, preset)
    defaults = flat_fields(definition.config())
    back = {name: Setting(defaults[name][0], default_source(definition.name, name)) for name in before.keys() - after}
    return _changed(after, before) | back


def _changed(values: Values, before: Values) -> Values:
    return {name: setting for name, setting in values.items() if before.get(name) != setting}


def _by_task(values: dict[str, Values]) -> str:
    """A line for each task that has values, a column for each setting; several tables where they are many."""
    names = list(dict.fromkeys(name for row in values.values() for name in row))
    blocks = [names[first : first + COLUMNS] for first in range(0, len(names), COLUMNS)]
    return "\n\n".join(_task_table(block, values) for block in blocks)


def _task_table(names: list[str], values: dict[str, Values]) -> str:
    chosen = {task: {name: row[name] for name in names if name in row} for task, row in values.items()}
    rows = [
        (task, *(_value(row[name].value) if name in row else "" for name in names), _sources(row))
        for task, row in chosen.items()
        if row
    ]
    return _table(("task", *map(_code, names), "source"), rows)


def _sources(values: Values) -> str:
    """The source of most, then that of each of the others."""
    sources = [setting.source for setting in values.values()]
    usual = max(sources, key=sources.count)
    others = [f"{_code(name)}: {setting.source}" for name, setting in values.items() if setting.source != usual]
    return "; ".join([usual, *others])


def _about_sources(name: str) -> str:
    """The comment at the head of the preset file, which says what its sources are."""
    file = preset_path(name)
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    return _plain(" ".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)))


def flat_fields(config: Config, prefix: str = "") -> dict[str, tuple[object, str]]:
    """Every setting's value and description; those of nested records as `outer.inner`."""
    fields: dict[str, tuple[object, str]] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            fields |= flat_fields(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = (value, field.description or "")
    return fields


def _special_first(config: Config) -> dict[str, tuple[object, str]]:
    """The same, in the order of the records that declare them, from the system's own to the most general."""
    fields = flat_fields(config)
    declared = [get_annotations(record) for record in type(config).__mro__]

    def place(name: str) -> int:
        outer = name.partition(".")[0]
        return next(number for number, names in enumerate(declared) if outer in names)

    return {name: fields[name] for name in sorted(fields, key=place)}


def _value(value: object) -> str:
    """A value as `--set` takes it."""
    return _code(value if isinstance(value, str) else json.dumps(value))


def _linked(paper: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", _plain(paper))


def _code(text: str) -> str:
    return f"`{text}`"


def _plain(text: str) -> str:
    """`text` with backslashes before what Markdown would take for a mark, outside of code."""
    return re.sub(r"(`[^`]*`)|([*~<\\])", lambda match: match[1] or f"\\{match[2]}", text)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the bars within a cell are escaped."""
    lines = [headings, ["---"] * len(headings), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
