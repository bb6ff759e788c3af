"""An executor whose workers a test plays."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from offline_mbrl.launch.executor import Executor
from offline_mbrl.launch.task import Call, Ended
from offline_mbrl.storage import records

Play = Callable[[Call], Ended]


def fake(play: Play, slots: int = 1, queues: bool = False, hears_signals: bool = True) -> Executor:
    """Ends each call, as it is submitted, as `play` says."""

    def submit(calls: Sequence[Call]) -> list[Future[Ended]]:
        return [_ended(play, call) for call in calls]

    return Executor("fake", submit, slots, queues=queues, hears_signals=hears_signals)


def finish(call: Call) -> Ended:
    """The worker does all of it."""
    for folder in call.folders:
        if "--fit" not in call.arguments:
            records.write_json(folder / records.DONE, {})
    return Ended(0)


def fail(folder: Path, reason: str) -> None:
    """Leaves the mark of a failure."""
    (folder / records.FAILED).write_text(reason + "\n")


def _ended(play: Play, call: Call) -> Future[Ended]:
    promise: Future[Ended] = Future()
    try:
        promise.set_result(play(call))
    except Exception as error:
        promise.set_exception(error)
    return promise
