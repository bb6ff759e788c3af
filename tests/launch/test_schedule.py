from dataclasses import dataclass

import pytest

from offline_mbrl.launch.schedule import longest_first, makespan, ready


@dataclass(frozen=True)
class Piece:
    name: str
    cost: float
    needs: frozenset[str] = frozenset()


def test_the_longest_comes_first_and_equals_keep_their_order() -> None:
    tasks = [Piece("a", 1), Piece("b", 3), Piece("c", 1), Piece("d", 2)]
    assert [task.name for task in longest_first(tasks)] == ["b", "d", "a", "c"]


def test_a_short_fit_that_long_jobs_wait_for_comes_before_them_and_before_middling_ones() -> None:
    tasks = [Piece("alone", 4), Piece("long", 5, frozenset({"fit"})), Piece("fit", 1)]
    assert [task.name for task in longest_first(tasks)] == ["fit", "long", "alone"]


def test_a_task_is_ready_when_nothing_it_needs_is_open() -> None:
    tasks = [Piece("a", 1, frozenset({"fit"})), Piece("b", 1)]
    assert [task.name for task in ready(tasks, {"fit", "a", "b"})] == ["b"]
    assert ready(tasks, {"a", "b"}) == tasks


@pytest.mark.parametrize(("slots", "expected"), [(1, 12), (2, 7), (3, 5), (4, 5)])
def test_the_makespan_is_that_of_longest_first_on_as_many_slots(slots: int, expected: float) -> None:
    # Two slots: 5 + 2 beside 3 + 2 would be 7 and 5; three: 5, 3 + 2 and 2.
    assert makespan([Piece("a", 2), Piece("b", 3), Piece("c", 5), Piece("d", 2)], slots) == expected


def test_the_makespan_counts_what_must_wait() -> None:
    # The fit takes 2; its two jobs follow it on both slots, so that the other one ends the last: 2 + 3 beside 1 + ...
    tasks = [Piece("fit", 2), Piece("a", 3, frozenset({"fit"})), Piece("b", 3, frozenset({"fit"})), Piece("c", 1)]
    assert makespan(tasks, 2) == 5
    assert makespan(tasks, 1) == 9
