"""The pages of docs/algorithms: they are what is generated, and what they name exists."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from offline_mbrl.algorithms.pages import write_pages
from offline_mbrl.algorithms.presets import preset_names
from offline_mbrl.algorithms.prose import defined, modules, sections
from offline_mbrl.algorithms.registry import get_definition, own_names

PAGES = Path(__file__).parents[2] / "docs" / "algorithms"
COMMAND = "python -m offline_mbrl.algorithms.describe --docs docs/algorithms"


def test_the_pages_are_what_is_generated(tmp_path: Path) -> None:
    write_pages(tmp_path)
    written, kept = ({path.name: path.read_text() for path in folder.iterdir()} for folder in (tmp_path, PAGES))
    changed = sorted(name for name in written.keys() | kept if written.get(name) != kept.get(name))
    assert changed == [], f"run {COMMAND}"


@pytest.mark.parametrize("name", own_names())
def test_every_function_that_a_page_names_exists(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    dotted = [token.split(".") for token in re.findall(r"(?<![\w/])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", text)]
    pairs = {pair for parts in dotted for pair in pairwise(parts) if pair[0] in modules()}
    named = {(module, function) for module, function in pairs if function not in {"py", "md", "toml"}}
    assert bool(named) == ("Equations and functions" in sections(name))
    missing = [
        f"{module}.{function}" for module, function in sorted(named) if function not in defined(modules()[module])
    ]
    assert missing == []


@pytest.mark.parametrize("name", own_names())
def test_every_setting_preset_and_deviation_is_on_the_page_once(name: str) -> None:
    text, definition = (PAGES / f"{name}.md").read_text(), get_definition(name)
    settings = text.split("\n## Settings\n")[1].split("\n## ")[0]
    for field in definition.config.model_fields:
        assert re.search(rf"^\| `{field}[`.]", settings, re.MULTILINE), field
    assert re.findall(r"^### `(.+)`$", text, re.MULTILINE) == preset_names(name)
    assert len(re.findall(r"^- ", text.split("\n## Deviations\n")[1], re.MULTILINE)) == len(definition.deviations)
