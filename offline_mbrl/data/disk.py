"""What a disk refuses, as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offline_mbrl.errors import UserError


@contextmanager
def writing(path: Path, advice: str) -> Iterator[None]:
    """Turns an `OSError` of the block (a full disk, a folder that is not writable) into a `UserError` with `advice`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); {advice}") from error
