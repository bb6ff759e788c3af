"""Settings that are given as `--set key=value`."""

import json

from offline_mbrl.errors import UserError


def settings(pairs: tuple[str, ...]) -> dict[str, object]:
    """`key=value` texts as settings; a value is read as JSON where it is JSON, else as text."""
    found: dict[str, object] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise UserError(f"--set needs key=value, not '{pair}'")
        if key in found:
            raise UserError(f"--set gives {key} twice; leave one of the two out")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found
