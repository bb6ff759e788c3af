"""Training and the throughput benchmark do not import what they do not use: downloads, databases, plots."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[1]
ABSENT = ("minari", "duckdb", "matplotlib", "httpx", "jinja2", "plotly", "tenacity", "scipy", "PIL", "pandas")

BLOCK = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_train_needs_no_library_that_a_run_does_not_use(tmp_path: Path) -> None:
    args = ["train", "bc", "hopper-medium", "--size", "1000", "--steps", "20", "--evaluate-every", "10"]
    args += ["--episodes", "1", "--set", "hidden=[8]", "--out", "run", "--cache-dir", "cache"]
    done = run(f"sys.argv = ['offline-mbrl', *{args!r}]\nfrom offline_mbrl.cli.entry import main\nmain()", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "DONE").exists()


def test_the_benchmark_needs_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    done = run("import throughput\nprint(len(throughput.system_names()))", tmp_path)
    assert done.returncode == 0, done.stderr
