"""Errors a user can act on: one clear line that says what is wrong and what to do."""

import difflib
import sys
from collections.abc import Iterable


class UserError(Exception):
    """A problem outside the program (a name, a file, a setting); the CLI prints it as one line and exits with 2."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a `name` that is none of the `known` ones; it suggests the nearest."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(names)}"
    return UserError(f"unknown {kind} '{name}'; {hint}")


def warn(text: str) -> None:
    """Says on stderr, in one line, what did not go as asked but could be helped."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
