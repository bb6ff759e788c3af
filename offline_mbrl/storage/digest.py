"""A digest of a folder's files, kept among them: what tells a damaged checkpoint from a sound one."""

import hashlib
from pathlib import Path

from offline_mbrl.storage.files import write_text

DIGEST = "digest.sha256"


def write_digest(folder: Path) -> None:
    """Writes the digest of `folder` into it."""
    write_text(folder / DIGEST, folder_digest(folder) + "\n")


def is_intact(folder: Path) -> bool:
    """Whether the files of `folder` are those its digest was made of; one without a digest (0.1) is taken as it is."""
    file = folder / DIGEST
    return not file.exists() or file.read_bytes() == f"{folder_digest(folder)}\n".encode()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below `folder` but the digest itself."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / DIGEST):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return whole.hexdigest()
