"""`schema`: what the files look like, for editors and other programs."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from offline_mbrl.cli.commands import Commands

Name = Literal["suite", "job", "environment", "scores", "metrics", "diverged", "export"]


def register(app: Commands) -> None:
    """Adds the command to the command line."""
    app.command(schema)


def schema(
    name: Annotated[Positional[Name], arg(metavar="NAME")] = "suite",
    out: Path | None = None,
) -> None:
    """Print the JSON schema of a suite, a job, a record or a row of `export`; or write all of them into a folder.

    An editor that reads schemas (Taplo, Even Better TOML) completes and checks a suite whose first line is
    `#:schema suite.schema.json`.

    For example:

      offline-mbrl schema suite > suite.schema.json
      offline-mbrl schema --out schemas

    Args:
      name: suite, job, environment, scores, metrics, diverged or export.
      out: a folder to write all of them into, in place of printing one.
    """
    from offline_mbrl.launch import schemas

    print("\n".join(map(str, schemas.write_schemas(out))) if out else schemas.schema(name))
