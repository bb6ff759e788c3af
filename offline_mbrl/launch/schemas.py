"""JSON schemas of the files that are written and read: for editors, and for programs of others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from offline_mbrl.errors import unknown_name
from offline_mbrl.launch.suite import Suite
from offline_mbrl.results.evaluation_rows import Evaluation
from offline_mbrl.storage.files import write_text
from offline_mbrl.storage.formats import FORMATS, EnvironmentFile, JobFile, MetricLine, ScoreLine
from offline_mbrl.training.job import Job

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


KEYS = {
    "tasks": "of `offline-mbrl tasks`",
    "source": "builtin, policy:FILE, d4rl, d4rl:FILE, minari, minari:ID or synthetic",
    "size": "rows of generated data; D4RL's number when absent",
    "physics": "of the evaluation, and of generated data",
    "seeds": "how many, from 0 on",
    "seeds_per_job": "seeds of one program; all of them when absent",
    "steps": "gradient steps; the published number when absent",
    "evaluate_every": "gradient steps between evaluations, which must divide the steps",
    "episodes": "of one evaluation, deterministic policy",
    "precision": "of float32 matrix products; or mixed, with hidden activations in 16 bits",
    "run": "the rows of the grid",
    "algorithm": "one of `offline-mbrl algorithms`; * stands for every one that no other row names",
    "preset": "a named alternative of the algorithm's settings",
    "scale": "other sizes of the suite, by name",
}
"""What a suite's key means, where its field does not say."""


def _suite() -> Schema:
    """A suite, every key of it described."""
    schema = Suite.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        for name, entry in part.get("properties", {}).items():
            if name in KEYS:
                entry.setdefault("description", KEYS[name])
    return schema


def _job() -> Schema:
    """A job as it lies in its folder, with its id and the format of the folder's files."""
    schema = Job.model_json_schema()
    schema["properties"]["id"] = {"type": "string", "description": "a hash of the job's fields"}
    schema["properties"]["format"] = JobFile.model_json_schema()["properties"]["format"]
    return schema


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "suite": _suite,
    "job": _job,
    "environment": EnvironmentFile.model_json_schema,
    "scores": ScoreLine.model_json_schema,
    "metrics": MetricLine.model_json_schema,
    "diverged": FORMATS["diverged.json"].json_schema,
    "export": Evaluation.model_json_schema,
}
"""By name: the TOML of `sweep`, the files of a run's folder, a row of `export`."""


def schema(name: str) -> str:
    """The JSON schema called `name`.

    Raises:
      UserError: there is none of that name.
    """
    if name not in SCHEMAS:
        raise unknown_name("schema", name, SCHEMAS)
    return json.dumps({"$schema": DIALECT} | SCHEMAS[name](), indent=2)


def write_schemas(folder: Path) -> list[Path]:
    """Writes all of them into `folder`, as `<name>.schema.json`."""
    paths = [folder / f"{name}.schema.json" for name in SCHEMAS]
    for name, path in zip(SCHEMAS, paths, strict=True):
        write_text(path, schema(name) + "\n")
    return paths
