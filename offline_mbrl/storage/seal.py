"""JSON that carries a checksum of itself as its last entry, so that a flipped bit is noticed wherever it is.

The checksum is over the text before it, so what is read need not be written again to be checked: `{"a": 1}` is sealed
as `{"a": 1, "crc32": "........"}`, and a list has the seal as its last element.
"""

import json
from typing import Any
from zlib import crc32

KEY = "crc32"
JOINT = b", {"
"""The signs that may stand between the last value and the seal."""


class SealError(ValueError):
    """A text that is not JSON, or not what was written; says why."""


def seal(text: str) -> str:
    """The JSON object or array `text`, as `json.dumps` lays it out, with its checksum added."""
    head = text[:-1].rstrip()
    entry = f'"{KEY}": "{_checksum(head.encode())}"'
    joint = "" if head in ("{", "[") else ", "
    return f"{head}{joint}{entry if text[-1] == '}' else f'{{{entry}}}'}{text[len(head) :]}"


def unseal(text: bytes) -> tuple[Any, bool]:
    """The JSON value of `text` without its seal, and whether it had one.

    Raises:
      SealError: it is not JSON, or the seal is that of another text.
    """
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise SealError(str(error)) from error
    digest = _take_seal(value)
    if digest is None:
        return value, False
    if digest != _checksum(text[: text.rfind(f'"{KEY}"'.encode())]):
        raise SealError("its checksum does not hold")
    return value, True


def _checksum(head: bytes) -> str:
    """That of what comes before the seal and its joint."""
    return f"{crc32(head.rstrip(JOINT)):08x}"


def _take_seal(value: Any) -> object:
    """Takes the seal out of a parsed object or array; None where there is none."""
    if isinstance(value, dict):
        return value.pop(KEY, None)
    if isinstance(value, list) and value and isinstance(value[-1], dict) and value[-1].keys() == {KEY}:
        return value.pop()[KEY]
    return None
