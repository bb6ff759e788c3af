"""What an index shows, and what the wheel holds."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
URL = "https://example.org/owner/repository"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """`hatch_build.py`, which lies beside the package."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(text: str) -> list[str]:
    """Targets of links and pictures that lead nowhere on an index."""
    return [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith(("http", "#"))]


def test_every_link_and_picture_of_the_readme_is_absolute_on_an_index(build: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text()
    assert relative(readme)
    shown = build.for_an_index(readme, URL)
    assert relative(shown) == []
    for target in re.findall(rf"\]\({URL}/(?:raw|blob)/HEAD/([^)#]+)", shown):
        assert (ROOT / target).exists(), target


def test_without_an_address_links_become_text_and_pictures_go(build: ModuleType) -> None:
    text = "![p](docs/p.png) [![q](q.png)](docs/q.md) see [the guide](docs/g.md) and [us](https://example.org)"
    assert build.for_an_index(text, None).split() == ["see", "the", "guide", "and", "[us](https://example.org)"]
    assert relative(build.for_an_index((ROOT / "README.md").read_text(), None)) == []


def test_pictures_are_files_and_links_are_pages(build: ModuleType) -> None:
    text = build.for_an_index("![p](docs/p.png) [![q](q.png)](docs/q.md#part)", URL)
    assert text == f"![p]({URL}/raw/HEAD/docs/p.png) [![q]({URL}/raw/HEAD/q.png)]({URL}/blob/HEAD/docs/q.md#part)"


@pytest.mark.slow
def test_the_wheel_holds_all_that_the_package_reads(build: ModuleType, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "assets/hopper.xml",
        "assets/LICENSE",
        "published_scores.csv",
        "mopo.toml",
        "py.typed",
        "report.html.j2",
    ):
        assert any(name.endswith(part) for name in names), part
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
