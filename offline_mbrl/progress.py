"""A progress bar with rate, time left and the latest news; plain lines where there is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class Tick(Protocol):
    """Reports that `done` units are finished, with a word on how it goes."""

    def __call__(self, done: int, news: str = "") -> None: ...


class RateColumn(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "-/s", style="progress.data.speed")


@contextmanager
def progress(
    title: str, total: int | None, done: int = 0, console: Console | None = None, *, lines: bool = True
) -> Iterator[Tick]:
    """A bar called `title` over `total` units (unknown when None) that starts at `done`.

    Where there is no terminal each report is a line of its own, unless `lines` is off: for work that reports often.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[news]}"), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, completed=done, news="")

        def tick(done: int, news: str = "") -> None:
            bar.update(task, completed=done, news=news)
            if lines and not console.is_terminal:
                of = f"/{total:,}" if total else ""
                console.print(f"{title}: {done:,}{of} {news}", highlight=False)

        yield tick
