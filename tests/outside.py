"""A package outside this one, made in a folder: a module with a system, and the metadata that an installer writes."""

import sys
from pathlib import Path

import pytest

TRIAL = """
from dataclasses import replace

from offline_mbrl.algorithms.systems import bc


def build(problem, config, steps):
    return bc.build(problem, config, steps)


DEFINITION = replace(bc.DEFINITION, name="trial", title="Trial", paper="nowhere", equation="x", build=build)
"""
"""A sixteenth system: behavior cloning under another name."""


def write_package(folder: Path, text: str = TRIAL, module: str = "trial_module", point: str = "trial") -> Path:
    """A package `<module>` in `folder`, as installed there: `text` is its module, `point` the name of its system."""
    (folder / f"{module}.py").write_text(text)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[offline_mbrl.algorithms]\n{point} = {module}:DEFINITION\n")
    return folder


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Puts `folder` on the path, and forgets at the end what was imported from it."""
    monkeypatch.syspath_prepend(str(folder))
    for file in folder.glob("*.py"):
        monkeypatch.delitem(sys.modules, file.stem, raising=False)
