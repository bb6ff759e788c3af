"""A progress bar with rate, time left and the latest news; plain lines, which say the same, where there is no terminal.

It never stands mute: what takes time before the first unit is done, a compilation say, is named with its seconds.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from offline_mbrl.errors import says

MISSING = "–"


def duration(seconds: float | None) -> str:
    """As 45 s, 12 min, 3 h 20 min; the sign for missing where it is not known."""
    if seconds is None or not isfinite(seconds):
        return MISSING
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02d} min" if hours else f"{minutes} min"


def stderr() -> Console:
    """Where it is said how things go; silent where the process was told to be."""
    return Console(stderr=True, quiet=not says("info"))


class Tick(Protocol):
    """Reports that `done` units are finished, with a word on how it goes."""

    def __call__(self, done: int, news: str = "") -> None: ...


class Pace:
    """Units per second since the first one was begun, and the seconds that the others will take."""

    def __init__(self, done: int, total: int | None) -> None:
        self._start, self._done, self._total = done, done, total
        self._began = self._now = time.monotonic()

    def begin(self) -> None:
        """The first unit is begun now: what came before does not count."""
        self._began = time.monotonic()

    def reach(self, done: int) -> None:
        """`done` units are finished now."""
        self._done, self._now = done, time.monotonic()

    @property
    def seconds(self) -> float:
        return self._now - self._began

    @property
    def rate(self) -> float | None:
        made = self._done - self._start
        return made / self.seconds if made > 0 and self.seconds > 0 else None

    @property
    def left(self) -> float | None:
        return (self._total - self._done) / self.rate if self._total and self.rate else None

    def __str__(self) -> str:
        if not self.rate:
            return duration(self.seconds)
        left = f", {duration(self.left)} left" if self.left else ""
        return f"{duration(self.seconds)}, {self.rate:,.{0 if self.rate >= 10 else 1}f}/s{left}"


class Bar:
    """One line of work: a `Tick`, and the names of what comes before the first one."""

    def __init__(self, title: str, total: int | None, done: int, console: Console, lines: bool, bar: Progress) -> None:
        self._title, self._total, self._console = title, total, console
        self._plain = lines and not console.is_terminal
        self._pace, self._bar = Pace(done, total), bar
        self._task: TaskID = bar.add_task(title, total=total, completed=done, news="", now="", since=0.0, pace="")

    def __call__(self, done: int, news: str = "") -> None:
        self._pace.reach(done)
        self._bar.update(self._task, completed=done, news=news, now="", pace=str(self._pace))
        if self._plain:
            of = f"/{self._total:,}" if self._total else ""
            self._print(f"{done:,}{of}{f' {news}' if news else ''}, {self._pace}")

    def say(self, what: str) -> None:
        """Names what is done until the first units are finished, with its seconds."""
        self._bar.update(self._task, now=what, since=time.monotonic())
        if self._plain:
            self._print(what)

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Names what is done within the block, with its seconds; the pace of the units begins when it ends."""
        began = time.monotonic()
        self.say(what)
        yield
        self._pace.begin()
        if self._plain:
            self._print(f"{what} took {duration(time.monotonic() - began)}")
        self._bar.update(self._task, now="first steps", since=time.monotonic())

    def _print(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", highlight=False, markup=False, soft_wrap=True)


class NowColumn(ProgressColumn):
    """Pace and news of the units; before the first of them what is going on, with its seconds."""

    def render(self, task: Task) -> Text:
        now, since = task.fields["now"], task.fields["since"]
        going = f"{now} {duration(time.monotonic() - since)}" if now else task.fields["pace"]
        return Text(f"{going} {task.fields['news']}".strip())


@contextmanager
def progress(
    title: str, total: int | None, done: int = 0, console: Console | None = None, *, lines: bool = True
) -> Iterator[Bar]:
    """A bar called `title` over `total` units (unknown when None) that starts at `done`.

    Where there is no terminal each report is a line of its own, unless `lines` is off: for work that reports often.
    """
    console = console or stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), NowColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield Bar(title, total, done, console, lines, bar)
