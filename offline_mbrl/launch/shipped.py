"""The suites that come with the package, by name: `mopo/penalties` is `experiments/mopo/penalties.toml`."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from offline_mbrl.errors import unknown_name
from offline_mbrl.launch.suite import Suite, at_scale, plan, read_suite, scales
from offline_mbrl.storage.records import SUITE, write_json
from offline_mbrl.training.job import Job

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "experiments", PACKAGE.parent / "experiments")
"""Where they lie in an installed package, and in a checkout."""


class Request(NamedTuple):
    """A suite as somebody asked for it: its file, its name in records, and at which scale."""

    path: Path
    name: str
    scale: str | None


def names() -> list[str]:
    """Every shipped suite, in alphabetical order."""
    return sorted(_name(path) for path in _folder().rglob("*.toml"))


def find_suite(suite: str, scale: str | None = None) -> Request:
    """The suite in a file, or the shipped one of that name; a scale that nobody named is `full` where there are any.

    Raises:
      UserError: it is neither (the nearest name is suggested), or the file is no suite.
    """
    path = Path(suite)
    if not (path.exists() or path.is_absolute() or path.suffix == ".toml"):
        path = _folder() / f"{suite}.toml"
        if not path.is_file():
            raise unknown_name("suite", suite, names())
    inside = path.is_file() and path.resolve().is_relative_to(_folder().resolve())
    known = scales(read_suite(path))
    return Request(path, _name(path) if inside else path.stem, scale or (known[-1] if known else None))


def results_folder(request: Request) -> Path:
    """`results/mopo/penalties/small`; `results/bench` for a suite of one size."""
    return Path("results", *request.name.split("/"), *([request.scale] if request.scale else []))


def plan_of(request: Request) -> tuple[Suite, list[Job]]:
    """The suite at its scale, and its jobs."""
    suite = at_scale(read_suite(request.path), request.scale)
    return suite, [planned.job for planned in plan(suite)]


def mark(request: Request, suite: Suite, out: Path, wanted: Collection[Job]) -> None:
    """Writes into the folders of the jobs `wanted` their suite, its scale, and what the table calls them."""
    chosen = {job.name for job in wanted}
    for variant, job in plan(suite):
        if job.name not in chosen:
            continue
        (out / job.name).mkdir(parents=True, exist_ok=True)
        write_json(out / job.name / SUITE, {"suite": request.name, "scale": request.scale, "variant": variant})


def describe_suites() -> list[list[str]]:
    """A line for each shipped suite and scale: name, scale, number of jobs, cost, title."""
    return [line for name in names() for line in _lines(find_suite(name))]


def _lines(request: Request) -> list[list[str]]:
    suite = read_suite(request.path)
    sizes = [(scale, at_scale(suite, scale or None)) for scale in scales(suite) or [""]]
    titles = [suite.title, *[""] * len(sizes)]
    return [
        [request.name, scale, str(len(plan(one))), one.cost, title]
        for (scale, one), title in zip(sizes, titles, strict=False)
    ]


def _folder() -> Path:
    return next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])


def _name(path: Path) -> str:
    return path.resolve().relative_to(_folder().resolve()).with_suffix("").as_posix()
