"""Workers as children: what is known of their end."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from offline_mbrl.launch.process import local_cache, memory_kills, memory_share, missing_folder, run_worker
from offline_mbrl.launch.task import Call
from offline_mbrl.training.job import claim
from tests.launch.runs import ENVIRONMENT, job

MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT = 60 * 2**20
"""Bytes: less than JAX takes when it is imported."""


def never() -> bool:
    return False


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A group of processes that the kernel gives little memory."""
    group = MEMORY / f"offline-mbrl-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no memory group can be made here: {error}")
    yield group
    group.rmdir()


@pytest.mark.medium
def test_a_worker_that_the_kernel_kills_for_memory_is_known_as_such(tmp_path: Path, small_memory: Path) -> None:
    claim(tmp_path / "run", job())
    call = Call("run", (tmp_path / "run",), (str(tmp_path / "run"),))

    def confine(number: int) -> None:
        (small_memory / "cgroup.procs").write_text(str(number))

    ended = run_worker(call, never, environment=ENVIRONMENT, started=confine)
    assert (ended.code, ended.memory) == (-9, True)


@pytest.mark.medium
def test_a_worker_that_somebody_kills_is_not_taken_for_one(tmp_path: Path) -> None:
    claim(tmp_path / "run", job())
    call = Call("run", (tmp_path / "run",), (str(tmp_path / "run"),))
    ended = run_worker(call, never, environment=ENVIRONMENT, started=lambda number: os.kill(number, 9))
    assert (ended.code, ended.memory) == (-9, False)


def test_the_kernels_count_is_read(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\nnuma_hit 4\n")
    assert memory_kills(tmp_path / "vmstat") == 3
    assert memory_kills(tmp_path / "none") == 0


def test_half_a_gpu_is_half_of_nine_tenths_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    assert memory_share(0.5)["XLA_CLIENT_MEM_FRACTION"] == "0.450"
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "0.3")
    assert memory_share(0.5) == {}


def test_compiled_programs_lie_where_nobody_else_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = Path(local_cache()["JAX_COMPILATION_CACHE_DIR"]).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert local_cache() == {}
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    assert local_cache() == {}


def test_a_machine_without_the_shared_storage_says_so(tmp_path: Path) -> None:
    ended = missing_folder(Call("run", (tmp_path,), ()))
    assert ended is not None
    assert ended.code == 2
    assert ended.note.startswith(f"{tmp_path} is not on ")
