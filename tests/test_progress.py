import io

import pytest
from rich.console import Console

from offline_mbrl import errors, progress
from offline_mbrl.progress import duration


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_line_without_a_terminal_has_time_rate_and_what_is_left(clock: Clock) -> None:
    """1,000 of 5,000 steps in 10 s are 100/s: 40 s are left; the 7 s of compiling before do not count."""
    box = io.StringIO()
    with progress.progress("bc hopper", 5000, console=Console(file=box, width=40)) as tick:
        with tick.phase("compiling"):
            clock.now += 7
        clock.now += 10
        tick(1000, "score 3.0")
    assert box.getvalue().splitlines() == [
        "bc hopper: compiling",
        "bc hopper: compiling took 7 s",
        "bc hopper: 1,000/5,000 score 3.0, 10 s, 100/s, 40 s left",
    ]


def test_what_was_done_in_an_earlier_session_does_not_count_for_the_rate(clock: Clock) -> None:
    pace = progress.Pace(900, 1000)
    clock.now += 10
    pace.reach(950)
    assert pace.rate == 5
    assert pace.left == 10


def test_a_slow_rate_keeps_a_digit_and_an_unknown_total_leaves_nothing_to_tell(clock: Clock) -> None:
    pace = progress.Pace(0, None)
    assert str(pace) == "0 s"
    clock.now += 4
    pace.reach(10)
    assert str(pace) == "4 s, 2.5/s"


def test_a_terminal_shows_what_is_going_on_and_for_how_long(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress.progress("mopo", 10, console=console) as tick, tick.phase("compiling"):
        clock.now += 12
        (task,) = tick._bar.tasks
        assert progress.NowColumn().render(task).plain == "compiling 12 s"


def test_a_process_that_is_told_to_be_quiet_says_no_more_how_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    errors.set_level("warning")
    try:
        with progress.progress("bc", 10) as tick:
            tick(5)
        errors.warn("the disk is nearly full")
        errors.set_level("error")
        errors.warn("never mind")
    finally:
        errors.set_level("info")
    assert capsys.readouterr().err == "warning: the disk is nearly full\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12000, "3 h 20 min"), (None, "–"), (float("nan"), "–")]
)
def test_times_read_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
