"""What went wrong, in one line with a remedy: for every kind of failure that a sound program meets, and for the others.

The command line and the workers end here, so that no command needs a `try` of its own.
"""

import errno
import os
import platform
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeGuard

from offline_mbrl.errors import UserError
from offline_mbrl.stopping import Stopped, heed_signals

if TYPE_CHECKING:
    from pydantic import ValidationError

AGAIN = "then run the same command again"
REMEDIES: dict[int, str] = {
    errno.ENOSPC: f"make room there, {AGAIN}",
    errno.EDQUOT: f"make room there, {AGAIN}",
    errno.EFBIG: f"raise the limit on the size of files (ulimit -f), {AGAIN}",
    errno.EMFILE: f"raise the limit on open files (ulimit -n), {AGAIN}",
    errno.ENFILE: f"close other programs, {AGAIN}",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EROFS: "choose a place that can be written",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "a file stands where a folder should; choose another place",
    errno.ENOENT: "correct the path",
    errno.EEXIST: "choose another name",
    errno.ELOOP: "its links lead in a circle or away; name the place itself",
    errno.EIO: f"the disk or the way to it fails; check it, {AGAIN}",
    errno.ESTALE: f"the network's disk went away; mount it again, {AGAIN}",
}
MEMORY = "ask for less at once: fewer seeds, episodes, rows or jobs, a smaller batch"
SYSTEM_CODE = re.compile(r"os[_ ]error(?:_code)?[^0-9]{0,4}(\d+)", re.IGNORECASE)
"""How TensorStore, which writes the arrays of a checkpoint, names the system's error inside its own."""


def guarded(command: Callable[[], int | None]) -> int:
    """Calls `command` and returns its exit code (0 for None); what it raises becomes one line on stderr and a code."""
    try:
        with heed_signals():
            code = _call(command)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
    except BrokenPipeError:  # the reader of a pipe has seen enough: `offline-mbrl tasks | head -3`
        _forget_output()
        return 128 + 13
    except BaseException as error:
        _tell(error)
        return exit_code(error)


def explain(error: BaseException, crash_dir: Path | None = None) -> str:
    """The one line for `error`.

    An unexpected one's traceback goes to a file in `crash_dir`, the system's folder for temporary files when None,
    which the line names.
    """
    expected = _first_expected(error)
    line = " ".join((_unexpected(error, crash_dir) if expected is None else str(_expected(expected))).split())
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in line)


def exit_code(error: BaseException) -> int:
    """2 for what the user can act on, 70 for a fault of the program, 128 + the number for a signal."""
    match _first_expected(error):
        case None:
            return 70
        case Stopped() as stopped:
            return stopped.exit_code
        case KeyboardInterrupt():
            return Stopped(signal.SIGINT).exit_code
    return 2


def leave(code: int) -> NoReturn:
    """Ends this process with `code` without taking Python down, when all that it had to write is written.

    XLA and TensorStore keep threads. A process that one of them crashes as the interpreter is torn down under it ends
    by SIGSEGV, and whoever waits for its exit code takes a run that was left at a safe point for a failed one.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # it is full, closed or was never there
            stream.flush()
    os._exit(code)


def out_of_system(error: BaseException, path: Path) -> OSError | None:
    """The system's error, at `path`, that a library reports in its own words; None where there is none."""
    code = SYSTEM_CODE.search(str(error))
    return OSError(int(code[1]), os.strerror(int(code[1])), str(path)) if code else None


def _call(command: Callable[[], int | None]) -> int:
    try:
        return command() or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _tell(error: BaseException) -> None:
    prefix = "" if isinstance(_first_expected(error), Stopped | KeyboardInterrupt) else "error: "
    line = explain(error)
    with suppress(OSError):  # nobody reads it any more
        print(f"{prefix}{line}", file=sys.stderr, flush=True)


def _forget_output() -> None:
    """Sends what is still to be printed nowhere, so that Python has nothing to complain about at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _first_expected(error: BaseException) -> BaseException | None:
    return next((one for one in _with_causes(error) if _expected(one)), None)


def _expected(error: BaseException) -> str | None:
    match error:
        case UserError() | Stopped():
            return str(error)
        case KeyboardInterrupt():
            return str(Stopped(signal.SIGINT))
        case ValueError() if _is_invalid_record(error):
            from offline_mbrl.config import describe_first

            return describe_first(error, error.title)
        case MemoryError():
            return f"out of memory{_detail(error)}; {MEMORY}"
        case RecursionError():
            return "an input is nested too deeply to be read; make it flatter"
        case UnicodeError():
            return f"a text or a name is not UTF-8{_detail(error)}; save it as UTF-8"
        case OSError(errno=errno.ENOMEM):
            return f"out of memory; {MEMORY}"
        case OSError(errno=int()):
            return _system(error)
    if "RESOURCE_EXHAUSTED" in str(error):
        reason = out_of_system(error, Path("a checkpoint"))
        return _system(reason) if reason else f"out of memory{_detail(error)}; {MEMORY}"
    return None


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, the errors of a group, and what each was raised from.

    An interruption counts also where another error came of it: libraries that are interrupted as they load raise one.
    """
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _with_causes(part)
        interrupted = isinstance(error.__context__, Stopped | KeyboardInterrupt)
        error = error.__context__ if interrupted else error.__cause__


def _is_invalid_record(error: BaseException) -> TypeGuard["ValidationError"]:
    """Whether it is pydantic's; its import takes a tenth of a second, which `--help` does without."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(error, pydantic.ValidationError)


def _system(error: OSError) -> str:
    named = error.filename2 or error.filename
    place = os.fsdecode(named) if isinstance(named, str | bytes) else "the output"
    what = (error.strerror or str(error)).lower()
    if error.errno == errno.ENOSPC and _is_out_of_inodes(Path(place)):
        what = "no room for another file (no inodes left)"
    return f"{what}: {place}; {REMEDIES.get(error.errno or 0, f'see to it, {AGAIN}')}"


def _is_out_of_inodes(path: Path) -> bool:
    """Whether the disk of `path` has room for data but for no further file."""
    folder = next((parent for parent in path.parents if parent.is_dir()), None)
    if folder is None or not hasattr(os, "statvfs"):
        return False
    free = os.statvfs(folder)
    return free.f_files > 0 and free.f_favail == 0 and free.f_bavail > 0


def _detail(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0][:200]
    return f" ({first})" if first else ""


def _unexpected(error: BaseException, folder: Path | None) -> str:
    kind = f"{type(error).__name__}: {error}"[:300]
    report = _report(error)
    try:
        descriptor, name = tempfile.mkstemp(".txt", "offline-mbrl-crash-", folder)
        with open(descriptor, "wb") as file:
            file.write(report.encode(errors="backslashreplace"))
    except OSError:
        print(report, file=sys.stderr)
        return f"a fault of the program, {kind}; please report it with the lines above"
    return f"a fault of the program, {kind}; please report it with {name}, which says where it was"


def _report(error: BaseException) -> str:
    """What a report needs: the command, the platform, where the fault was."""
    from importlib.metadata import distributions

    packages = sorted({f"{one.metadata['Name']} {one.version}" for one in distributions()})
    lines = [f"command: {sys.argv}", f"python: {sys.version}", f"platform: {platform.platform()}", ""]
    return "\n".join([*lines, *traceback.format_exception(error), "installed:", *packages, ""])
