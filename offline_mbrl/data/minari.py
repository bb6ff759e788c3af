"""Minari data sets in and out.

Minari's own MuJoCo sets were made anew on Gymnasium's v5 environments: their source is `minari`, never D4RL.
"""

import os
import re
import shutil
import socket
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer
from minari.dataset.episode_data import EpisodeData
from minari.storage import get_dataset_path

from offline_mbrl.data.dataset import DataPhysics, Dataset, from_raw, read_only
from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import writing
from offline_mbrl.tasks import Task

ID = re.compile(r"([-\w]+/)*[-\w]+-v\d+")
ADVICE = "free space there or point MINARI_DATASETS_PATH at another folder"
PHYSICS_KEY = "offline_mbrl_physics"
"""Where our exports note their physics: what a Gymnasium environment's name says would be wrong for d4rl-v2."""
FILLER_KEY = "offline_mbrl_terminal_observations"
FILLER = "unknown; each repeats the one before"
"""What our exports note where the source stored no next observations, so that a terminal's is a filler."""


def load_minari(task: Task, dataset_id: str | None = None) -> Dataset:
    """The Minari set `dataset_id`, `mujoco/<robot>/<level>-v0` when None; fetched when it is not on this machine.

    A truncation counts as a time-out at the task's horizon, and as a cut before it.
    """
    chosen = _validate(dataset_id or f"mujoco/{task.robot.name}/{task.level}-v0")
    found = _open(chosen)
    episodes = _episodes(found, chosen)
    lengths = np.array([len(episode.rewards) for episode in episodes])
    truncations = np.concatenate([episode.truncations for episode in episodes])
    dataset = from_raw(
        task,
        source="minari",
        name=chosen,
        physics=_physics(found),
        observations=np.concatenate([np.asarray(episode.observations)[:-1] for episode in episodes]),
        actions=np.concatenate([np.asarray(episode.actions) for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        terminals=np.concatenate([episode.terminations for episode in episodes]),
        timeouts=truncations & (np.repeat(lengths, lengths) == task.robot.horizon),
        next_observations=np.concatenate([np.asarray(episode.observations)[1:] for episode in episodes]),
    )
    fillers = found.storage.metadata.get(FILLER_KEY) == FILLER
    return replace(dataset, known_next=read_only(dataset.discounts > 0)) if fillers else dataset


def to_minari(dataset: Dataset, dataset_id: str) -> Path:
    """Writes `dataset` as the local Minari set `dataset_id` and returns its folder; a cut episode ends truncated there.

    The set names no environment, as none of Gymnasium's has D4RL's physics; it carries spaces, reference scores and a
    description instead.
    """
    folder = Path(get_dataset_path(_validate(dataset_id)))
    if folder.exists():
        raise UserError(f"there is a Minari set {dataset_id} in {folder} already; choose another version")
    try:
        # Minari warns that it would like an email address.
        with writing(folder, ADVICE), warnings.catch_warnings(action="ignore", category=UserWarning):
            _write(dataset, dataset_id)
    except BaseException:
        # A half-written folder would break every later listing of local sets.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _write(dataset: Dataset, dataset_id: str) -> None:
    robot = dataset.task.robot
    written = minari.create_dataset_from_buffers(
        dataset_id,
        list(_buffers(dataset)),
        observation_space=Box(-np.inf, np.inf, (robot.obs_dim,), np.float32),
        action_space=Box(-1.0, 1.0, (robot.action_dim,), np.float32),
        author="offline_mbrl",
        algorithm_name=f"{dataset.source}: {dataset.name}",
        code_permalink="",
        description=f"{dataset.name} of source {dataset.source}, {dataset.physics} physics, {dataset.fingerprint}",
    )
    written.storage.update_metadata(_metadata(dataset))


def _metadata(dataset: Dataset) -> dict[str, Any]:
    """What Minari would leave out, the reference scores of `get_normalized_score` too: no environment is named."""
    robot = dataset.task.robot
    scores = {"ref_min_score": robot.random_return, "ref_max_score": robot.expert_return}
    fillers = {} if dataset.known_next.all() else {FILLER_KEY: FILLER}
    return {PHYSICS_KEY: dataset.physics} | scores | fillers


def _buffers(dataset: Dataset) -> Iterator[EpisodeBuffer]:
    """Minari's episodes hold one observation more than steps; what ends none by a terminal is truncated."""
    stops = np.cumsum(dataset.episodes.lengths)
    for start, stop in zip(stops - dataset.episodes.lengths, stops, strict=True):
        rows = slice(start, stop)
        terminations = dataset.discounts[rows] == 0
        yield EpisodeBuffer(
            observations=np.concatenate([dataset.observations[rows], dataset.next_observations[stop - 1 : stop]]),
            actions=dataset.actions[rows],
            rewards=dataset.rewards[rows],
            terminations=terminations,
            truncations=dataset.ends[rows] & ~terminations,
        )


HUB = ("huggingface.co", 443)
"""Where Minari's sets are by default."""

PATIENCE = 2.0
"""Seconds to wait for it: Minari's own client tries again and again for half a minute."""


def _refuse_without_network(dataset_id: str) -> None:
    """`UserError` at once where a set is not on this machine and nothing answers; another remote is left to Minari."""
    if Path(get_dataset_path(dataset_id)).exists() or "MINARI_REMOTE" in os.environ or _has_proxy():
        return
    try:
        socket.create_connection(HUB, PATIENCE).close()
    except OSError as error:
        raise UserError(
            f"cannot get Minari set {dataset_id}: it is not in {get_dataset_path('')}, and {HUB[0]} does not answer "
            f"({error}); another one is named with --source minari:ID"
        ) from error


def _has_proxy() -> bool:
    return any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_ENDPOINT"))


def _open(dataset_id: str) -> minari.MinariDataset:
    _refuse_without_network(dataset_id)
    try:
        return minari.load_dataset(dataset_id, download=True)
    except Exception as error:  # its hub's client raises kinds of its own
        raise UserError(
            f"cannot get Minari set {dataset_id} ({_first_line(error)}); local sets are looked for in "
            f"{get_dataset_path('')}, another one is named with --source minari:ID"
        ) from error


def _episodes(dataset: minari.MinariDataset, name: str) -> list[EpisodeData]:
    try:
        episodes = list(dataset.iterate_episodes())
    except Exception as error:  # what its storage raises on damaged files
        raise UserError(f"cannot read Minari set {name} ({_first_line(error)}); fetch or export it again") from error
    if not episodes:
        raise UserError(f"Minari set {name} has no episodes")
    return episodes


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _validate(dataset_id: str) -> str:
    """The id, if Minari can take it: a malformed one would leave a folder that breaks later listings."""
    if not ID.fullmatch(dataset_id):
        raise UserError(f"'{dataset_id}' is no Minari id; write namespace/name-v0 in letters, digits, - and _")
    return dataset_id


def _physics(dataset: minari.MinariDataset) -> DataPhysics:
    """What our own export noted, else the version of the environment that the set names."""
    noted = dataset.storage.metadata.get(PHYSICS_KEY)
    if noted in get_args(DataPhysics):
        return cast(DataPhysics, noted)
    version = str(dataset.env_spec.id).rpartition("-")[2] if dataset.env_spec else ""
    return cast(DataPhysics, f"gymnasium-{version}") if version in ("v4", "v5") else "unknown"
