"""The registry finds every algorithm by itself, and each says what it is."""

from pathlib import Path

import pytest

import offline_mbrl.algorithms.systems
from offline_mbrl.algorithms.registry import definitions, get_definition
from offline_mbrl.config import Config
from offline_mbrl.errors import UserError


def test_finds_them_in_alphabetical_order() -> None:
    assert {"bc", "mopo"} <= set(definitions())
    assert list(definitions()) == sorted(definitions())


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown algorithm 'mopp'; did you mean 'mopo'\?"):
        get_definition("mopp")


@pytest.mark.parametrize("name", list(definitions()))
def test_a_definition_says_what_it_is(name: str) -> None:
    definition = get_definition(name)
    assert definition.name == name
    assert (Path(offline_mbrl.algorithms.systems.__path__[0]) / f"{name}.py").is_file()
    for text in (definition.title, definition.paper, definition.equation, *definition.deviations):
        assert text.strip()
    assert issubclass(definition.config, Config)
    assert all(field.description for field in definition.config.model_fields.values())
