import json
from pathlib import Path
from typing import Any, get_args

import pytest

from offline_mbrl.cli.schema import Name
from offline_mbrl.errors import UserError
from offline_mbrl.launch.schemas import SCHEMAS, schema, write_schemas
from offline_mbrl.storage.formats import ScoreLine

ROOT = Path(__file__).parents[2]


def properties(schema: dict[str, Any]) -> dict[str, Any]:
    """Of the schema and the records within it, by name."""
    parts = [schema, *schema.get("$defs", {}).values()]
    return {name: entry for part in parts for name, entry in part.get("properties", {}).items()}


def test_the_command_offers_every_schema() -> None:
    assert set(get_args(Name)) == set(SCHEMAS)


def test_every_key_of_a_suite_is_described() -> None:
    assert [name for name, entry in properties(json.loads(schema("suite"))).items() if "description" not in entry] == []


def test_a_suite_has_no_key_that_the_schema_does_not_know() -> None:
    suite = json.loads(schema("suite"))
    assert suite["additionalProperties"] is False
    assert {"tasks", "run", "seeds", "steps"} <= set(suite["properties"])


def test_all_are_written_into_a_folder(tmp_path: Path) -> None:
    paths = write_schemas(tmp_path)
    assert {path.name for path in paths} == {f"{name}.schema.json" for name in SCHEMAS}
    assert json.loads((tmp_path / "job.schema.json").read_text())["properties"]["id"]["type"] == "string"


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(UserError, match="unknown schema 'suit'; did you mean 'suite'"):
        schema("suit")


def test_a_line_of_scores_as_training_writes_it_is_one() -> None:
    ScoreLine.model_validate({"seed": 0, "step": 5, "returns": [1.0, 2.0], "score": None})
