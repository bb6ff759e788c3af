"""What every system says of itself, and that each of its presets is one that it takes."""

import tomllib

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.algorithms.pages import flat_fields
from offline_mbrl.algorithms.presets import default_source, preset_names, resolve, settings
from offline_mbrl.algorithms.registry import canonical, get_definition, preset_path
from offline_mbrl.config import Config
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.tasks import TASKS


def test_it_says_what_it_is(definition: Definition) -> None:
    for text in (definition.title, definition.paper, definition.equation, *definition.deviations):
        assert text.strip()
        assert "\n" not in text
    assert issubclass(definition.config, Config)
    assert all(field.description for field in definition.config.model_fields.values())


def test_it_is_found_by_its_name_in_any_case(definition: Definition) -> None:
    assert canonical(definition.name) == definition.name
    assert get_definition(definition.name.upper().replace("_", "-")) is definition


def test_every_preset_is_valid_on_every_task_and_has_a_source(definition: Definition) -> None:
    for preset in (None, *preset_names(definition.name)):
        for task in TASKS.values():
            resolved = resolve(definition, task.name, preset)
            assert resolved.steps >= 1000
            assert all(setting.source.strip() for setting in settings(definition.name, task.name, preset).values())
            assert hash(resolved.config) == hash(resolve(definition, task.name, preset).config)
            definition.build(problem_of(task.robot), resolved.config, resolved.steps)


def test_every_default_has_a_source_and_every_source_a_setting(definition: Definition) -> None:
    fields = set(flat_fields(definition.config()))
    assert all(default_source(definition.name, field).strip() for field in fields)
    file = preset_path(definition.name)
    named = set(tomllib.loads(file.read_text())["source"]) - {"all"} if file else set()
    assert named <= fields | {field.partition(".")[0] for field in fields}  # no misspelt name
