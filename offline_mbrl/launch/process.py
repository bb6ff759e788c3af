"""A worker as a child of this process, wherever that runs: on this machine, in a Ray task, in a Slurm job."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from offline_mbrl.launch.task import Call, Ended
from offline_mbrl.stopping import GENTLE

LOOK_SECONDS = 0.2
"""How long a request to stop may lie before a worker hears of it."""

OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)

Started = Callable[[int], None]
"""Is told the number of the process."""


def run_worker(
    call: Call,
    should_stop: Callable[[], bool],
    *,
    extra: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    quiet: bool = True,
    started: Started = lambda number: None,
) -> Ended:
    """Runs the worker of `call` in a process of its own and waits for it.

    Args:
      call: what it does.
      should_stop: asked time and again; once it says so the worker is asked to stop at a safe point.
      extra: further arguments.
      environment: variables on top of this process's.
      quiet: its output goes to the first folder's log, not to this process's.
      started: told its number.
    """
    command = [sys.executable, "-m", "offline_mbrl.launch.worker", *call.arguments, *extra]
    command += ["--launcher", str(os.getpid())]
    before = memory_kills()
    with ExitStack() as stack:
        log = stack.enter_context(call.log.open("ab")) if quiet else None
        # The other end of its stdin is held here, so that the worker sees our end where the system does not tell it.
        child = subprocess.Popen(
            command, env=os.environ | (environment or {}), stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        started(child.pid)
        code = _wait(stack.enter_context(child), should_stop)
    return Ended(code, memory=code == -signal.SIGKILL and memory_kills() > before)


def memory_kills(file: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel of this machine has killed for memory; 0 where it does not say."""
    try:
        found = OOM_KILLS.search(file.read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def local_cache() -> dict[str, str]:
    """The variable that keeps compiled programs on this host's own disk, in a folder that is this user's alone."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return {}
    folder = Path(tempfile.gettempdir()) / f"offline-mbrl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o022:  # what lies there is run: nobody else may write it
        return {}
    return {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}


def memory_share(share: float) -> dict[str, str]:
    """The variables that give a process its share of a GPU's memory, and leave a tenth for what JAX does not count."""
    text = f"{0.9 * min(share, 1.0):.3f}"
    names = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # the second is an older JAX's
    return {} if any(name in os.environ for name in names) else dict.fromkeys(names, text)


def missing_folder(call: Call) -> Ended | None:
    """How a call ends where the results' storage is not that of the sweep; None where it is."""
    absent = [folder for folder in call.folders if not (folder / "job.json").exists()]
    if not absent:
        return None
    host = os.uname().nodename
    return Ended(2, note=f"{absent[0]} is not on {host}; --out must lie on storage that all machines share")


def _wait(process: subprocess.Popen[bytes], should_stop: Callable[[], bool]) -> int:
    """The code of a worker, to which a request to stop is passed on.

    It is passed on gently: the worker may have had the signal already, as Ctrl-C goes to all processes of a terminal.
    """
    announced = False
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=LOOK_SECONDS)
        if not announced and should_stop():
            process.send_signal(GENTLE)
            announced = True
