import multiprocessing
from pathlib import Path

import jax
import numpy as np
import pytest

from offline_mbrl.behavior import choose
from offline_mbrl.behavior.choose import pack
from offline_mbrl.data.builtin import recipe as builtin
from offline_mbrl.data.builtin.behaviors import WEIGHTS, load_behaviors
from offline_mbrl.data.builtin.recipe import full_size, load_builtin, make, segments, set_name
from offline_mbrl.data.cache import cache_folder, load, save
from offline_mbrl.data.d4rl.catalogue import OFFICIAL_RETURNS
from offline_mbrl.data.dataset import Dataset
from offline_mbrl.data.summary import summarize
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.errors import UserError
from offline_mbrl.nn import weights as policies
from offline_mbrl.nn.networks import GaussianActor, init_params
from offline_mbrl.tasks import LEVELS, ROBOTS, get_task

pytestmark = pytest.mark.medium  # it compiles

HOPPER = ROBOTS["hopper"]
MEDIUM = get_task("hopper-medium")
RETURNS = {10: 50.0, 20: 400.0, 30: 1412.0, 40: 1500.0, 50: 3000.0}  # normalized: 2, 13, 44, 47, 93


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    for step, value in RETURNS.items():
        actor = init_params(GaussianActor((8,), HOPPER.action_dim), jax.random.key(step), HOPPER.obs_dim)
        policies.save(tmp_path / "snapshots" / f"{step:08d}.npz", policies.SavedPolicy(actor, np.full(3, value)))
    return tmp_path / "snapshots"


@pytest.fixture
def weights(snapshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(choose, "EPISODES", 2)
    pack(HOPPER, snapshots, tmp_path / "weights", medium=30, expert=50)
    return tmp_path / "weights"


def test_pack_keeps_the_ladder_up_to_medium_and_the_expert(weights: Path, snapshots: Path) -> None:
    behaviors = load_behaviors(HOPPER, weights)
    np.testing.assert_array_equal(behaviors.steps, [10, 20, 30, 50])
    np.testing.assert_array_equal(behaviors.returns, [50, 400, 1412, 3000])
    assert (behaviors.medium, behaviors.expert, behaviors.medium_returns.shape) == (2, 3, (2,))
    expert = policies.load(snapshots / "00000050.npz").actor
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-3), behaviors.actor(3), expert)


def test_pack_chooses_by_measured_returns(snapshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_measure", lambda robot, files, step: np.full(100, RETURNS[step]))
    behaviors = load_behaviors(HOPPER, pack(HOPPER, snapshots, tmp_path / "out").parent)
    np.testing.assert_array_equal(behaviors.steps, [10, 20, 30, 50])
    # Of two snapshots that are near enough the earlier one is medium.
    monkeypatch.setitem(RETURNS, 20, 1440.0)
    behaviors = load_behaviors(HOPPER, pack(HOPPER, snapshots, tmp_path / "out").parent)
    np.testing.assert_array_equal(behaviors.steps, [10, 20, 50])


def test_a_ladder_is_spread_evenly(snapshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "EPISODES", 1)
    pack(HOPPER, snapshots, tmp_path / "out", medium=50, expert=50, ladder=3)
    np.testing.assert_array_equal(load_behaviors(HOPPER, tmp_path / "out").steps, [10, 30, 50, 50])


def test_pack_needs_snapshots(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 0 policy snapshots"):
        pack(HOPPER, tmp_path, tmp_path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no behavior policies for hopper"):
        load_builtin(MEDIUM, 100, weights=tmp_path)


def test_full_sizes_are_d4rls() -> None:
    sizes = {level: [full_size(get_task(f"{robot}-{level}")) for robot in sorted(ROBOTS)] for level in LEVELS}
    assert sizes["medium-replay"] == [202_000, 402_000, 302_000]  # halfcheetah, hopper, walker2d
    assert [sizes[level][0] for level in ("random", "medium", "medium-expert")] == [1_000_000, 1_000_000, 2_000_000]


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (None, "hopper-medium"),
        (100_000, "hopper-medium@100k"),
        (1500, "hopper-medium@1500"),
        (5 * 10**6, "hopper-medium"),
    ],
)
def test_a_reduced_size_is_part_of_the_name(size: int | None, name: str) -> None:
    assert set_name(MEDIUM, size) == name


# Training steps 5, 15 and 25 of 30 are halfway between the snapshots: shares 1/6, 1/2, 5/6 of the time; squared
# they are shares of the rows at pace 1/2.
@pytest.mark.parametrize(("pace", "until"), [(1.0, [600, 1800, 3000, 3600]), (0.5, [100, 900, 2500, 3600])])
def test_every_training_step_of_a_replay_is_played_by_the_nearest_snapshot(
    weights: Path, monkeypatch: pytest.MonkeyPatch, pace: float, until: list[int]
) -> None:
    monkeypatch.setitem(builtin.REPLAY_PACE, "hopper", pace)
    plan = segments(get_task("hopper-medium-replay"), load_behaviors(HOPPER, weights), 3600)
    assert [part.policy for part in plan] == ["random", "replay-0", "replay-1", "replay-2"]
    assert [part.until for part in plan] == until


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_has_the_rows_asked_for_and_repeats_itself(weights: Path, level: str) -> None:
    task, behaviors = get_task(f"hopper-{level}"), load_behaviors(HOPPER, weights)
    dataset = make(task, behaviors, 300)
    assert (len(dataset), dataset.source, dataset.physics, dataset.name) == (
        300,
        "builtin",
        "d4rl-v2",
        f"{task.name}@300",
    )
    assert dataset.fingerprint == make(task, behaviors, 300).fingerprint
    assert dataset.fingerprint != make(task, behaviors, 300, "gymnasium-v4").fingerprint
    # Only ends of parts may be cut: the middle of medium-expert and the last row.
    assert (~dataset.episodes.complete).sum() <= (2 if level == "medium-expert" else 1)


def test_medium_expert_starts_with_the_medium_set(weights: Path) -> None:
    behaviors = load_behaviors(HOPPER, weights)
    both, medium = make(get_task("hopper-medium-expert"), behaviors, 400), make(MEDIUM, behaviors, 200)
    np.testing.assert_array_equal(both.observations[:200], medium.observations)
    assert both.ends[199]


def test_a_set_is_made_once_and_read_back_equal(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_builtin(MEDIUM, 200, weights=weights)
    monkeypatch.setattr(builtin, "make", None)
    read = load_builtin(MEDIUM, 200, weights=weights)
    assert (read.fingerprint, read.name, read.source, read.physics) == (
        made.fingerprint,
        made.name,
        "builtin",
        "d4rl-v2",
    )
    np.testing.assert_array_equal(read.episodes.returns, made.episodes.returns)
    with pytest.raises(ValueError, match="read-only"):
        read.observations[0] = 0


def test_other_weights_are_another_cache_file(weights: Path, snapshots: Path) -> None:
    before = load_builtin(MEDIUM, 200, weights=weights)
    pack(HOPPER, snapshots, weights, medium=40, expert=50)
    assert load_builtin(MEDIUM, 200, weights=weights).fingerprint != before.fingerprint


def only_archive() -> Path:
    (path,) = cache_folder().glob("builtin/*.npz")
    return path


@pytest.mark.parametrize("place", [0.01, 0.3, 0.6, 0.99])
def test_a_corrupt_file_is_built_again(weights: Path, place: float) -> None:
    made = load_builtin(MEDIUM, 200, weights=weights)
    content = bytearray(only_archive().read_bytes())
    content[int(place * len(content))] ^= 0xFF
    only_archive().write_bytes(content)
    assert load_builtin(MEDIUM, 200, weights=weights).fingerprint == made.fingerprint
    assert load(only_archive()) is not None


def test_a_truncated_file_and_a_leftover_of_a_killed_process_are_not_used(weights: Path) -> None:
    made = load_builtin(MEDIUM, 200, weights=weights)
    path = only_archive()
    path.write_bytes(path.read_bytes()[:1000])
    (path.parent / f".{path.name}.1.partial").write_bytes(b"half")
    assert load_builtin(MEDIUM, 200, weights=weights).fingerprint == made.fingerprint


def test_a_full_disk_is_one_clear_line(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"No space left on device.*OFFLINE_MBRL_CACHE"):
        load_builtin(MEDIUM, 100, weights=weights)
    assert not list(cache_folder().glob("builtin/*.npz"))
    assert not list(cache_folder().glob("builtin/.*.partial"))


def _ask(path: Path, log: Path) -> None:
    """What a process that wants a set does; noting every build."""
    from offline_mbrl.data.cache import load_or_build

    def build() -> Dataset:
        with log.open("a") as file:
            file.write("built\n")
        return synthetic(MEDIUM, 3000)

    load_or_build(path, build)


def test_two_processes_build_a_set_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    workers = [context.Process(target=_ask, args=(tmp_path / "set.npz", log)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert log.read_text() == "built\n"


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    dataset = synthetic(MEDIUM, 500)
    save(tmp_path / "set.npz", dataset)
    read = load(tmp_path / "set.npz")
    assert read is not None
    assert read.fingerprint == dataset.fingerprint
    for ours, theirs in zip(read.episodes, dataset.episodes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_cache_folder_is_named_by_argument_then_environment_then_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("OFFLINE_MBRL_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    monkeypatch.delenv("OFFLINE_MBRL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/offline_mbrl")


@pytest.mark.slow
@pytest.mark.parametrize("robot", ROBOTS)
def test_shipped_policies_reach_their_levels(robot: str) -> None:
    if not (WEIGHTS / f"{robot}.npz").is_file():
        pytest.skip(f"no weights of {robot} are shipped yet")
    behaviors, body = load_behaviors(ROBOTS[robot]), ROBOTS[robot]
    assert len(behaviors.medium_returns) >= 100
    assert abs(body.normalized_score(behaviors.medium_returns).mean() - choose.medium_score(body)) < 8


@pytest.mark.slow
@pytest.mark.parametrize("robot", ROBOTS)
def test_replay_sets_average_what_the_official_ones_do(robot: str) -> None:
    task = get_task(f"{robot}-medium-replay")
    facts = summarize(make(task, load_behaviors(task.robot), full_size(task)))
    official = task.robot.normalized_score(OFFICIAL_RETURNS[task.name].mean)
    assert facts.score_mean == pytest.approx(float(official), abs=2)


def test_the_shipped_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.npz")) <= 15e6
