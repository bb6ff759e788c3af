import time

import jax
import jax.numpy as jnp
import pytest

from offline_mbrl.training.timing import Busy, Stopwatch, peak_memory


def test_spans_within_spans_count_once() -> None:
    """Two inner spans of [2, 3] and [4, 5], the outer [1, 6], then one of [6, 8]: 7 seconds."""
    busy = Busy()
    for began, ended in ((2, 3), (4, 5), (1, 6), (6, 8)):
        busy.add(began, ended)
    assert busy.seconds == 7


def test_spans_that_overlap_count_their_union() -> None:
    busy = Busy()
    for began, ended in ((1, 4), (3, 6)):
        busy.add(began, ended)
    assert busy.seconds == 5


def test_parts_add_up_and_are_taken_once() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch.part("data"):
            time.sleep(0.01)
    taken = watch.take()
    assert taken["data"] >= 0.02
    assert taken["compile"] == 0
    assert watch.take() == {}


def test_items_that_are_made_one_by_one_are_all_timed() -> None:
    watch = Stopwatch()
    assert list(watch.timed(iter([1, 2, 3]), "train")) == [1, 2, 3]
    assert "train" in watch.take()


@pytest.mark.medium
def test_compiling_is_no_part_of_where_it_happens() -> None:
    watch = Stopwatch()
    with watch.part("train"):
        began = time.monotonic()
        jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.ones((7, 7))).block_until_ready()
        wall = time.monotonic() - began
    taken = watch.take()
    assert taken["compile"] > 0
    assert taken["train"] + taken["compile"] == pytest.approx(wall, abs=0.05)


def test_a_process_uses_memory() -> None:
    assert (peak_memory() or 0) > 10**7
