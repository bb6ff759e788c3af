"""The page of a system from outside, whose every part is written down here."""

from pathlib import Path

import pytest

from offline_mbrl.algorithms.describe import describe_algorithm, list_algorithms
from offline_mbrl.algorithms.pages import page
from offline_mbrl.algorithms.registry import own_names
from offline_mbrl.algorithms.summaries import summaries, summarize
from offline_mbrl.errors import UserError
from tests.outside import install, write_package

MODULE = """
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Definition
from offline_mbrl.config import Config


class TrialConfig(Config):
    weight: float = Field(2.5, description="a | b")
    hidden: tuple[int, ...] = Field((8, 8), description="widths")
    rate: float | None = Field(None, description="none when absent")


def build(problem, config, steps): ...


DEFINITION = Definition(
    name="trial",
    title="A Trial",
    paper="Nobody 2031, arXiv 3101.00001",
    equation="x = |y|",
    config=TrialConfig,
    build=build,
    deviations=("It is *not* a `*` paper.",),
)
"""

PRESETS = """# TRIAL. "code" is nobody's
# code.

[source]
all = "code"

[default]
steps = { value = 2000, source = "paper" }
rate = { value = 3e-4, source = "paper" }

[task.hopper-medium]
weight = { value = 5.0, source = "code" }
hidden = { value = [4], source = "code: small" }

[preset.wide.default]
hidden = { value = [64], source = "guess" }
rate = {}

[preset.wide.task.hopper-medium]
weight = { value = 1.0, source = "guess" }
"""

PROSE = """It tries.

## Equations

| equation | function |
|---|---|
| `a \\|b\\|` | `build`, `sac.actor_loss` |
| `c` | `trial_module.build` |

## Settings

Few.
"""

PAGE = """# A Trial (`trial`)

Nobody 2031, [arXiv 3101.00001](https://arxiv.org/abs/3101.00001). Model-free; `trial_module.py`.

    x = |y|

It tries.

## Equations

| equation | function | file |
|---|---|---|
| `a \\|b\\|` | `build`, `sac.actor_loss` | `trial_module.py`, `algorithms/parts/sac.py` |
| `c` | `trial_module.build` | `trial_module.py` |

## Settings

Few.

TRIAL. "code" is nobody's code.

| setting | value | source | meaning |
| --- | --- | --- | --- |
| `steps` | `2000` | paper | gradient steps of a full run |
| `weight` | `2.5` | code | a \\| b |
| `hidden` | `[8, 8]` | code | widths |
| `rate` | `0.0003` | paper | none when absent |

## Tasks

| task | `weight` | `hidden` | source |
| --- | --- | --- | --- |
| hopper-medium | `5.0` | `[4]` | code; `hidden`: code: small |

## Presets

### `wide`

| setting | value | source |
| --- | --- | --- |
| `hidden` | `[64]` | guess |
| `rate` | `null` | code |

| task | `weight` | source |
| --- | --- | --- |
| hopper-medium | `1.0` | guess |

## Deviations

- It is \\*not\\* a `*` paper.
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Of the package that adds it."""
    install(monkeypatch, write_package(tmp_path, MODULE))
    for suffix, text in (("toml", PRESETS), ("md", PROSE)):
        (tmp_path / f"trial.{suffix}").write_text(text)
    return tmp_path


def test_a_page_has_all_parts_in_order(folder: Path) -> None:
    assert page("trial") == PAGE


def test_with_a_task_it_has_the_values_there_and_no_prose(folder: Path) -> None:
    text = page("TRIAL", "hopper-medium")
    assert "\n## Settings\n\nOn hopper-medium.\n" in text
    assert "\n| `weight` | `5.0` | code | a \\| b |\n" in text
    assert "It tries." not in text
    assert "## Tasks" not in text


def test_without_presets_and_prose_there_are_the_defaults(folder: Path) -> None:
    for suffix in ("toml", "md"):
        (folder / f"trial.{suffix}").unlink()
    text = page("trial")
    assert "\n| `weight` | `2.5` | trial_module | a \\| b |\n" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# A Trial (`trial`)",
        "## Settings",
        "## Deviations",
    ]


def test_a_function_that_is_nowhere_is_named(folder: Path) -> None:
    (folder / "trial.md").write_text(PROSE.replace("sac.actor_loss", "sac.actress_loss"))
    with pytest.raises(UserError, match=r"the text beside the system 'trial' names a function sac\.actress_loss"):
        page("trial")


def test_the_list_read_from_the_texts_is_that_of_the_definitions(folder: Path) -> None:
    folder.joinpath("trial_module-1.0.dist-info/entry_points.txt").unlink()
    assert summaries() == [summarize(name) for name in own_names()]


def test_the_list_has_the_systems_of_other_packages(folder: Path) -> None:
    assert "\ntrial        model-free   A Trial" in list_algorithms()


@pytest.mark.parametrize("name", [None, "mobile", "crop", "armor"])
def test_nothing_is_wider_than_a_hundred_columns_or_cut(name: str | None) -> None:
    text = describe_algorithm(name) if name else list_algorithms()
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
