"""How numbers read in tables and sentences."""

from dataclasses import dataclass

from offline_mbrl.results.statistics import Estimate


@dataclass(frozen=True)
class Style:
    """Digits behind the point."""

    digits: int = 1


def plain(value: float, style: Style) -> str:
    """As 71.2, never as -0.0."""
    return f"{value + 0.0 if round(value, style.digits) else 0.0:.{style.digits}f}"


def with_interval(about: Estimate, style: Style) -> str:
    """As 71.2 [65.1, 77.0], or 71.2 without an interval."""
    return plain(about.value, style) + _bounds(about, style)


def signed(about: Estimate, style: Style) -> str:
    """As +3.2 [-1.0, 7.4]."""
    number = plain(about.value, style)
    sign = "" if number.startswith("-") else "+"
    return sign + number + _bounds(about, style)


def _bounds(about: Estimate, style: Style) -> str:
    if about.low is None or about.high is None:
        return ""
    return f" [{plain(about.low, style)}, {plain(about.high, style)}]"
