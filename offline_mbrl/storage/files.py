"""Files that are either whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from offline_mbrl.errors import UserError


@contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A binary file beside `path` that replaces it when the block ends well, and is removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole or not at all."""
    with write_atomically(path) as file:
        file.write(text.encode())


@contextmanager
def writing(path: Path, advice: str) -> Iterator[None]:
    """Turns an `OSError` of the block (a full disk, a folder that is not writable) into a `UserError` with `advice`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); {advice}") from error
