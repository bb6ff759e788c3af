"""The hot loop, driven with a stub: order of refreshes and updates, keys, means, seeds."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm, Pretrained
from offline_mbrl.errors import UserError
from offline_mbrl.training import loop
from offline_mbrl.training.loop import compile_program
from offline_mbrl.types import Array, Data, Key, Metrics, Transition

DATA = Data(
    Transition(jnp.arange(5.0)[:, None], jnp.zeros((5, 1)), jnp.zeros(5), jnp.ones(5), jnp.zeros((5, 1))),
    jnp.zeros(5),
    jnp.zeros(5, bool),
    jnp.ones(5, bool),
)


class Trace(NamedTuple):
    """What happened to one seed, written down by the stub."""

    kinds: Array  # [100] 1 for an update, 2 for a refresh
    draws: Array  # [100] the key's first draw
    length: Array


def note(trace: Trace, kind: int, key: Key) -> Trace:
    draw = jax.random.uniform(key)
    return Trace(trace.kinds.at[trace.length].set(kind), trace.draws.at[trace.length].set(draw), trace.length + 1)


def stub(refresh_every: int | None, steps_per_update: int = 1) -> Algorithm:
    def init(key: Key, data: Data, pretrained: Pretrained) -> Trace:
        return Trace(jnp.zeros(100, jnp.int32), jnp.zeros(100), jnp.zeros((), jnp.int32))

    def sample(state: Trace, data: Data, key: Key) -> tuple[Array, Array]:
        return data.transitions.obs.sum(), jax.random.uniform(key)

    def update(state: Trace, batch: tuple[Array, Array], key: Key) -> tuple[Trace, Metrics]:
        rows, drawn = batch
        return note(state, 1, key), {"number": state.length.astype(float), "rows": rows, "drawn": drawn}

    def refresh(state: Trace, data: Data, key: Key) -> tuple[Trace, Metrics]:
        return note(state, 2, key), {"refreshed_at": state.length.astype(float)}

    def act(state: Trace, obs: Array, key: Key, deterministic: bool) -> Array:
        return obs[:1] + (100.0 if deterministic else 0.0) + state.length

    if refresh_every is None:
        return Algorithm(init, sample, update, act, steps_per_update=steps_per_update)
    return Algorithm(init, sample, update, act, refresh, refresh_every, steps_per_update)


def keys(*seeds: int) -> Key:
    return jax.vmap(jax.random.key)(jnp.array(seeds))


def test_a_refresh_comes_before_every_block_of_updates() -> None:
    program = compile_program(stub(3), 6)
    state = program.init(keys(0, 1), DATA, {})
    state, metrics = program.advance(state, DATA, keys(0, 1), 0)
    np.testing.assert_array_equal(state.kinds[:, :9], [[2, 1, 1, 1, 2, 1, 1, 1, 0]] * 2)
    assert state.length.tolist() == [8, 8]
    np.testing.assert_allclose(metrics["number"], np.mean([1, 2, 3, 5, 6, 7]))
    np.testing.assert_allclose(metrics["refreshed_at"], np.mean([0, 4]))
    np.testing.assert_allclose(metrics["rows"], 10.0)


def test_without_a_refresh_there_are_updates_alone() -> None:
    program = compile_program(stub(None), 4)
    state, metrics = program.advance(program.init(keys(0), DATA, {}), DATA, keys(0), 0)
    assert state.kinds[0, :5].tolist() == [1, 1, 1, 1, 0]
    assert set(metrics) == {"number", "rows", "drawn"}


def run(period: int, calls: int, *seeds: int, first: int = 0) -> Trace:
    program = compile_program(stub(2), period)
    state = program.init(keys(*seeds), DATA, {})
    for call in range(calls):
        state, _ = program.advance(state, DATA, keys(*seeds), first + call * period)
    trace: Trace = jax.device_get(state)
    return trace


def test_draws_depend_on_the_seed_and_the_step_alone() -> None:
    """Not on the length of a call, on where the run was picked up, or on the other seeds."""
    whole, pieces = run(8, 1, 0, 1), run(2, 4, 0, 1)
    np.testing.assert_array_equal(whole.draws, pieces.draws)
    resumed = run(4, 1, 1, first=4)
    np.testing.assert_array_equal(resumed.draws[0, :6], whole.draws[1, 6:12])
    np.testing.assert_array_equal(run(8, 1, 1).draws[0], whole.draws[1])


def test_every_draw_is_its_own() -> None:
    trace = run(8, 2, 0, 1)
    drawn = trace.draws[:, :24].ravel()
    assert len(np.unique(drawn)) == drawn.size == 48


def test_the_batch_and_the_update_have_keys_of_their_own() -> None:
    program = compile_program(stub(None), 1)
    state, metrics = program.advance(program.init(keys(0), DATA, {}), DATA, keys(0), 0)
    assert float(metrics["drawn"][0]) != float(state.draws[0, 0])


def test_actions_are_deterministic_for_every_seed_and_episode() -> None:
    program = compile_program(stub(None), 2)
    state, _ = program.advance(program.init(keys(0, 1), DATA, {}), DATA, keys(0, 1), 0)
    obs = jnp.arange(6.0).reshape(2, 3, 1)
    np.testing.assert_array_equal(program.act(state, obs), obs + 102.0)


def test_states_are_consumed() -> None:
    program = compile_program(stub(None), 2)
    state = program.init(keys(0), DATA, {})
    program.advance(state, DATA, keys(0), 0)
    assert state.draws.is_deleted()


def test_a_period_that_cuts_a_block_is_refused() -> None:
    with pytest.raises(UserError, match="every 5 steps must be a multiple of the rollout interval, 2 steps"):
        compile_program(stub(2), 5)


def test_an_update_of_several_steps_counts_as_many() -> None:
    """Six steps in updates of two: three updates, whose draws are those of the steps they begin at."""
    several, single = compile_program(stub(2, 2), 6), run(6, 1, 0)
    state, _ = several.advance(several.init(keys(0), DATA, {}), DATA, keys(0), 0)
    assert state.kinds[0, :7].tolist() == [2, 1, 2, 1, 2, 1, 0]
    np.testing.assert_array_equal(state.draws[0, [1, 3, 5]], single.draws[0, [1, 4, 7]])
    with pytest.raises(UserError, match="5 steps must be a multiple of the 2 that one update makes"):
        compile_program(stub(None, 2), 5)


@pytest.mark.parametrize("updates", [12, 7])
def test_batches_gathered_ahead_are_those_that_were_gathered_one_by_one(
    updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LONGEST_STRETCH", 5)  # 12 updates are three stretches of four, 7 seven of one
    results = []
    for ahead in (False, True):
        program = compile_program(replace(stub(None), samples_ahead=ahead), updates)
        results.append(program.advance(program.init(keys(0, 1), DATA, {}), DATA, keys(0, 1), 0))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_the_longest_stretch_divides_the_updates() -> None:
    assert [loop.largest_divisor(number, 100) for number in (1000, 100, 150, 997, 7)] == [100, 100, 75, 1, 7]
