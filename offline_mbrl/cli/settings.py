"""Hyper-parameters as they are given on the command line."""

from offline_mbrl.errors import UserError


def parse_settings(pairs: tuple[str, ...]) -> dict[str, object]:
    """`key=value` texts as settings; a value is read as JSON where it is JSON, else as text."""
    import json

    settings: dict[str, object] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise UserError(f"--set needs key=value, not '{pair}'")
        if key in settings:
            raise UserError(f"--set gives {key} twice; leave one of the two out")
        try:
            settings[key] = json.loads(text)
        except ValueError:
            settings[key] = text
    return settings
