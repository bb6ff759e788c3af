import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from offline_mbrl.stopping import (
    FORCING,
    GENTLE,
    Stopped,
    at_safe_points,
    heed_signals,
    request_stop,
    stop_here,
    stop_requested,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def send(number: int) -> None:
    """The signal `number` to this process, heard before this returns."""
    signal.raise_signal(number)


def work(number: int, done: list[int]) -> None:
    """Five steps, the second of which the signal interrupts."""
    for step in range(5):
        stop_here()
        if step == 1:
            send(number)
        done.append(step)


@pytest.mark.parametrize("number", [*FORCING, GENTLE])
def test_work_that_need_not_be_saved_ends_at_once(number: int) -> None:
    done: list[int] = []
    with pytest.raises(Stopped) as caught, heed_signals():
        work(number, done)
    assert (done, caught.value.number, caught.value.exit_code) == ([0], number, 128 + number)
    assert stop_requested() is None


@pytest.mark.parametrize("number", [*FORCING, GENTLE])
def test_work_that_is_saved_goes_on_to_its_next_safe_point(number: int) -> None:
    done: list[int] = []
    with pytest.raises(Stopped) as caught, heed_signals(), at_safe_points():
        work(number, done)
    assert (done, caught.value.number) == ([0, 1], number)


def test_work_that_ends_before_a_safe_point_is_done() -> None:
    with heed_signals():
        with at_safe_points():
            send(signal.SIGTERM)
        assert stop_requested() == signal.SIGTERM
    stop_here()


def test_the_gentle_signal_never_forces() -> None:
    with heed_signals(), at_safe_points():
        for _ in range(5):
            send(GENTLE)
        assert stop_requested() == GENTLE


def test_the_first_request_counts() -> None:
    with heed_signals(), at_safe_points():
        send(GENTLE)
        send(signal.SIGINT)
        request_stop(signal.SIGHUP)
        assert stop_requested() == GENTLE


def test_handlers_and_ignored_signals_are_left_as_they_were() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        own = signal.getsignal(signal.SIGINT)
        with heed_signals():
            assert signal.getsignal(signal.SIGINT) is not own
            with heed_signals():
                send(signal.SIGHUP)  # nohup: it stays ignored
        assert signal.getsignal(signal.SIGINT) is own
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_off_the_main_thread_only_requests_count() -> None:
    found: list[int | None] = []

    def work() -> None:
        with heed_signals():
            request_stop(signal.SIGTERM)
            found.append(stop_requested())
        found.append(stop_requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIGTERM, None]


BUSY = """
import signal, sys, threading
from offline_mbrl.stopping import at_safe_points, heed_signals
with heed_signals(), at_safe_points():
    print("busy", flush=True)
    {work}
"""
LOOPS: dict[str, str] = {
    "Python": "while True: pass",
    "C": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
}


def busy(work: str) -> subprocess.Popen[str]:
    """A process that never comes to a safe point, with its hands full."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(work=work)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    return process


def told(process: subprocess.Popen[str], count: int, say: Callable[[int], int]) -> tuple[int, str]:
    for place in range(count):
        process.send_signal(say(place))
        if place + 1 < count:
            assert process.stderr is not None
            assert process.stderr.readline() == "stopping at the next safe point; once more stops at once\n"
    error = process.communicate()[1]
    return process.returncode, error


@pytest.mark.parametrize("work", ["Python", "C"])
@pytest.mark.parametrize("number", FORCING)
def test_the_second_signal_ends_a_process_wherever_it_is(work: str, number: int) -> None:
    code, error = told(busy(LOOPS[work]), 2, lambda place: number)
    assert code == 128 + number
    assert error == "stopped at once; the same command goes on from what was saved last\n"


def test_two_different_signals_force_too() -> None:
    code, _ = told(busy(LOOPS["Python"]), 2, lambda place: (signal.SIGINT, signal.SIGTERM)[place])
    assert code == 128 + signal.SIGTERM
