"""Order of the tests and what they share."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import pytest

from offline_mbrl.machine import keep_compiled

# A program that one module compiled is read by the others, in every worker and in the next session. Set before any
# compilation: JAX decides at the first one whether it has a cache.
keep_compiled(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

TIERS = ("medium", "slow")
LONGEST = ("test_probes.py", "test_algorithms.py")

# Whoever runs the tests may ignore signals, as nohup and a shell's background do, and children inherit that: the tests
# of signals would wait forever.
for _number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


def tier(item: pytest.Item) -> int:
    """0 for fast tests, then 1 for medium and 2 for slow ones."""
    return max((place for place, mark in enumerate(TIERS, 1) if item.get_closest_marker(mark)), default=0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast tests first: a broken basis shows before anything is trained on it.

    Then the files whose tests cost most: a file is one process's, and the other waits for one that begins last.
    """
    items.sort(key=lambda item: (tier(item), item.path.name not in LONGEST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") and not gpus():
        pytest.skip("needs a GPU and JAX sees none")


def gpus() -> Sequence[object]:
    """The GPUs that JAX sees."""
    import jax

    return [device for device in jax.devices() if device.platform == "gpu"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real D4RL files: $OFFLINE_MBRL_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("OFFLINE_MBRL_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder of D4RL files at {folder}; set OFFLINE_MBRL_SHARED")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs() -> Iterator[None]:
    """Drop a module's compiled programs after it: each holds memory maps, of which a process may have 65,530."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
