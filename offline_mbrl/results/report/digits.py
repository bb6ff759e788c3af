"""Numbers as the page prints them, and as its script gets them: no more digits than they are worth."""

from collections.abc import Iterable
from math import isfinite

from offline_mbrl.progress import MISSING, duration
from offline_mbrl.results.numbers import Style, plain

__all__ = ["MISSING", "count", "duration", "places", "plural", "rounded", "score"]


def score(value: float | None) -> str:
    """A normalized score: "44.1"."""
    return MISSING if value is None or not isfinite(value) else plain(value, Style(1)).replace("-", "−")


def count(value: float | None) -> str:
    """A whole number with its thousands apart."""
    return MISSING if value is None else f"{value:,.0f}"


def plural(number: int, word: str) -> str:
    """As 1 seed, 4 seeds."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def rounded(values: Iterable[float | None], digits: int = 3) -> list[float | None]:
    """Numbers to `digits` significant digits; None for what is no finite number, which JSON has no word for."""
    return [None if value is None or not isfinite(value) else float(f"{value:.{digits}g}") for value in values]


def places(values: Iterable[float], digits: int = 2) -> list[float | None]:
    """Numbers to `digits` decimal places; None for what is no finite number."""
    return [round(float(value), digits) if isfinite(value) else None for value in values]
