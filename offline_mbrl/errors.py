"""Errors a user can act on: one clear line that says what is wrong and what to do."""

import difflib
import sys
from collections.abc import Iterable
from typing import Literal, get_args

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)

_level: Level = "info"


class UserError(Exception):
    """A problem outside the program (a name, a file, a setting); the CLI prints it as one line and exits with 2."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a `name` that is none of the `known` ones; it suggests the nearest."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(names)}"
    return UserError(f"unknown {kind} '{name}'; {hint}")


def set_level(level: Level) -> None:
    """What this process says on stderr from now on: how it goes from "info" on, warnings from "warning" on."""
    global _level
    _level = level


def says(level: Level) -> bool:
    """Whether what has this level is said."""
    return LEVELS.index(level) >= LEVELS.index(_level)


def warn(text: str) -> None:
    """Says on stderr, in one line, what did not go as asked but could be helped."""
    if says("warning"):
        print(f"warning: {text}", file=sys.stderr, flush=True)
