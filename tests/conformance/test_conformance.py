"""The conformance tests themselves: each fails where its rule is broken, and they run on other packages' systems."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm, Definition
from offline_mbrl.algorithms.systems import bc, iql
from offline_mbrl.conformance import test_algorithms as checks
from offline_mbrl.conformance import test_definition as sayings
from offline_mbrl.conformance.case import Case, make_case, train
from offline_mbrl.conformance.conftest import setting
from offline_mbrl.conformance.data import SEEDS
from offline_mbrl.conformance.traces import trace
from offline_mbrl.errors import UserError
from tests.outside import write_package

ROOT = Path(__file__).parents[2]

Change = Callable[[Algorithm], Algorithm]


def changed(change: Change, base: Definition = bc.DEFINITION, **claims: bool) -> Case:
    """Behavior cloning, or another system, with one rule broken."""

    def build(problem: Any, config: Any, steps: int) -> Algorithm:
        return change(base.build(problem, config, steps))

    return make_case(replace(base, name="changed", build=build, **claims), {})  # type: ignore[arg-type]


def updating(change: Callable[[Any, Any], tuple[Any, Any]]) -> Change:
    """The change of an algorithm by one of what its `update` gives."""

    def apply(algorithm: Algorithm) -> Algorithm:
        return replace(algorithm, update=lambda state, batch, key: change(*algorithm.update(state, batch, key)))

    return apply


def carrying(value: Callable[[], Any]) -> Change:
    """The change by which the state carries a further leaf, `value()` at the start and one more after each update."""

    def apply(algorithm: Algorithm) -> Algorithm:
        def update(state: Any, batch: Any, key: Any) -> Any:
            inner, metrics = algorithm.update(state[0], batch, key)
            return (inner, state[1] + jnp.float32(1)), metrics

        return Algorithm(
            init=lambda key, data, models: (algorithm.init(key, data, models), value()),
            sample=lambda state, data, key: algorithm.sample(state[0], data, key),
            update=update,
            act=lambda state, obs, key, deterministic: algorithm.act(state[0], obs, key, deterministic),
        )

    return apply


def with_same_key(algorithm: Algorithm) -> Algorithm:
    same = jax.random.key(0)
    return replace(
        algorithm,
        init=lambda key, data, models: algorithm.init(same, data, models),
        sample=lambda state, data, key: algorithm.sample(state, data, same),
    )


def outside_the_box(algorithm: Algorithm) -> Algorithm:
    return replace(algorithm, act=lambda *arguments: 2 + algorithm.act(*arguments))


def halved(state: Any, metrics: Any) -> tuple[Any, Any]:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), state), metrics


def with_rows(state: Any, metrics: Any) -> tuple[Any, Any]:
    return state, metrics | {"rows": jnp.zeros(3)}


def printing(state: Any, metrics: Any) -> tuple[Any, Any]:
    jax.debug.callback(print, metrics["actor_loss"])
    return state, metrics


def not_a_number(state: Any, metrics: Any) -> tuple[Any, Any]:
    return state, metrics | {"actor_loss": metrics["actor_loss"] * jnp.nan}


@pytest.mark.medium
@pytest.mark.parametrize(
    ("change", "check"),
    [
        (updating(halved), checks.test_functions_keep_shapes_and_types),
        (updating(with_rows), checks.test_metrics_are_scalars_of_different_names),
        (updating(printing), checks.test_nothing_calls_back_to_the_host),
    ],
)
def test_what_a_trace_shows_is_found(change: Change, check: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError):
        check(trace(changed(change)))
    check(trace(changed(lambda algorithm: algorithm)))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("change", "check"),
    [
        (updating(not_a_number), checks.test_trains_finitely_and_moves_its_state),
        (with_same_key, checks.test_seeds_differ),
    ],
)
def test_what_a_run_shows_is_found(change: Change, check: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError):
        check(train(changed(change), *SEEDS))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("change", "check"),
    [
        (outside_the_box, checks.test_actions_lie_in_the_box_and_deterministic_ones_repeat),
        (carrying(lambda: 0.0), checks.test_compiles_once_for_all_periods),  # weakly typed until the first update
        (carrying(itertools.count().__next__), checks.test_a_seed_alone_equals_itself_in_a_batch),
    ],
)
def test_what_another_call_shows_is_found(change: Change, check: Callable[[Any, Any], None]) -> None:
    case = changed(change)
    with pytest.raises(AssertionError):
        check(case, train(case, *SEEDS))


def with_mean_reward(algorithm: Algorithm) -> Algorithm:
    """Looks at all rows, where a lane's own are meant."""

    def sample(state: Any, data: Any, key: Any) -> Any:
        batch = algorithm.sample(state, data, key)
        return batch._replace(reward=batch.reward - data.transitions.reward.mean())

    return replace(algorithm, sample=sample)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("base", "change"),
    [
        (bc.DEFINITION, lambda algorithm: algorithm),  # a leaf of its state has an entry for each row
        (iql.DEFINITION, with_mean_reward),
    ],
)
def test_a_system_that_claims_lanes_across_tasks_and_reads_others_rows_is_found(
    base: Definition, change: Change
) -> None:
    check = checks.test_a_lane_reads_its_own_rows_alone_where_the_system_says_so
    case = changed(change, base, across_tasks=True)
    together = train(case, *SEEDS)
    with pytest.raises(AssertionError):
        check(case, together)
    check(case._replace(definition=replace(case.definition, across_tasks=False)), together)


def test_a_definition_that_says_nothing_is_found() -> None:
    with pytest.raises(AssertionError):
        sayings.test_it_says_what_it_is(replace(bc.DEFINITION, equation=" "))


def test_a_system_that_refreshes_rarely_needs_a_small_interval() -> None:
    def rarely(algorithm: Algorithm) -> Algorithm:
        return replace(algorithm, refresh=lambda state, data, key: (state, {}), refresh_every=1000)

    with pytest.raises(UserError, match="changed refreshes every 1000 steps; give it a smaller interval by --small"):
        changed(rarely)


def test_a_small_value_is_json_or_text() -> None:
    assert dict(map(setting, ["capacity=100", "hidden=[8]", "prior=uniform", "rate="])) == {
        "capacity": 100,
        "hidden": [8],
        "prior": "uniform",
        "rate": "",
    }
    with pytest.raises(pytest.UsageError, match="--small needs KEY=VALUE, not 'capacity'"):
        setting("capacity")


def test_a_small_value_of_a_setting_that_the_system_has_not_is_named() -> None:
    with pytest.raises(UserError, match="unknown bc setting 'hiden'; did you mean 'hidden'"):
        make_case(bc.DEFINITION, {"hiden": [8]})


def run_conformance(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pytest --pyargs offline_mbrl.conformance` of a user in `folder`, whose own modules are importable."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "offline_mbrl.conformance.plugin"]
    paths = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [*command, "--pyargs", "offline_mbrl.conformance", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.medium
def test_another_packages_system_passes_all_of_it(tmp_path: Path) -> None:
    run = run_conformance(
        write_package(tmp_path), "-v", "--strict-markers", "--algorithm", "TRIAL", "--small", "batch_size=8"
    )
    assert run.returncode == 0, run.stdout
    assert "test_seeds_differ[trial]" in run.stdout
    assert "skipped" not in run.stdout


@pytest.mark.medium
def test_a_system_is_named_by_its_module_too_and_all_registered_ones_are_the_default(tmp_path: Path) -> None:
    write_package(tmp_path)
    (tmp_path / "loose.py").write_text((tmp_path / "trial_module.py").read_text().replace('"trial"', '"loose"'))
    one = run_conformance(tmp_path, "--collect-only", "--algorithm", "loose:DEFINITION").stdout
    assert "test_seeds_differ[loose]" in one
    assert "[bc]" not in one
    everything = run_conformance(tmp_path, "--collect-only").stdout
    assert all(f"test_seeds_differ[{name}]" in everything for name in ("armor", "td3_bc", "trial"))


@pytest.mark.medium
def test_an_unknown_system_is_one_line(tmp_path: Path) -> None:
    run = run_conformance(tmp_path, "--algorithm", "mopp")
    assert "--algorithm mopp: unknown algorithm 'mopp'; did you mean 'mopo'?" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
