"""Makespans by hand."""

import numpy as np
import pytest
from sweep_simulation import Options, Work, makespan, simulate


def test_the_longest_goes_first() -> None:
    programs = [Work(seconds, None) for seconds in (1.0, 2.0, 3.0)]
    assert makespan([], programs, 1) == 6.0
    assert makespan([], programs, 2) == 3.0  # 3 beside 2 and 1
    assert makespan([], programs, 3) == 3.0


def test_programs_wait_for_their_fit_and_others_do_not() -> None:
    programs = [Work(5.0, 0), Work(5.0, 0), Work(4.0, None)]
    assert makespan([2.0], programs, 3) == 7.0  # the fit, then both; the third beside
    assert makespan([2.0], programs, 1) == 16.0


def test_failures_cost_a_start_and_half_an_interval() -> None:
    rng = np.random.default_rng(0)
    programs = [Work(3600.0, None)]
    spans = [makespan([], programs, 1, 2.0, rng=rng) for _ in range(2000)]
    assert np.mean(spans) == pytest.approx(3600 + 2 * (20 + 30), rel=0.002)


def test_a_storage_that_is_too_slow_slows_the_work() -> None:
    programs = [Work(10.0, None, 6000.0)] * 4  # 6000 bytes every 60 s: 100 a second each
    assert makespan([], programs, 4, storage=400.0) == 10.0
    assert makespan([], programs, 4, storage=200.0) == 20.0
    assert makespan([], programs, 1, storage=100.0) == 40.0


def test_more_slots_never_take_longer() -> None:
    rows = simulate(Options(slots=(1, 4, 16), failures=(0.0,), storage=np.inf))
    hours = [row["hours"] for row in rows]
    assert hours == sorted(hours, reverse=True)
    assert all(0 < row["busy"] <= 1 + 1e-9 for row in rows)
