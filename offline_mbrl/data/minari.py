"""Minari data sets in and out.

Minari's own MuJoCo sets were made anew on Gymnasium's v5 environments: their source is `minari`, never D4RL.
"""

import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer
from minari.storage import get_dataset_path

from offline_mbrl.data.dataset import DataPhysics, Dataset, from_raw
from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import writing
from offline_mbrl.tasks import Task

ID = re.compile(r"([-\w]+/)*[-\w]+-v\d+")
ADVICE = "free space there or point MINARI_DATASETS_PATH at another folder"
PHYSICS_KEY = "offline_mbrl_physics"
"""Where our exports note their physics: what a Gymnasium environment's name says would be wrong for d4rl-v2."""


def load_minari(task: Task, dataset_id: str | None = None) -> Dataset:
    """The Minari set `dataset_id`, `mujoco/<robot>/<level>-v0` when None; fetched when it is not on this machine.

    A truncation counts as a time-out at the task's horizon, and as a cut before it.
    """
    chosen = _checked(dataset_id or f"mujoco/{task.robot.name}/{task.level}-v0")
    found = _open(chosen)
    episodes = list(found.iterate_episodes())
    if not episodes:
        raise UserError(f"Minari set {chosen} has no episodes")
    lengths = np.array([len(episode.rewards) for episode in episodes])
    truncations = np.concatenate([episode.truncations for episode in episodes])
    return from_raw(
        task,
        source="minari",
        name=chosen,
        physics=_physics(found),
        observations=np.concatenate([np.asarray(episode.observations, np.float32)[:-1] for episode in episodes]),
        actions=np.concatenate([np.asarray(episode.actions, np.float32) for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        terminals=np.concatenate([episode.terminations for episode in episodes]),
        timeouts=truncations & (np.repeat(lengths, lengths) == task.robot.horizon),
        next_observations=np.concatenate([np.asarray(episode.observations, np.float32)[1:] for episode in episodes]),
    )


def to_minari(dataset: Dataset, dataset_id: str) -> Path:
    """Writes `dataset` as the local Minari set `dataset_id` and returns its folder; a cut episode ends truncated there.

    The set names no environment, as none of Gymnasium's has D4RL's physics; it carries spaces, reference scores and a
    description instead.
    """
    folder = Path(get_dataset_path(_checked(dataset_id)))
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
        ref_min_score=robot.random_return,
        ref_max_score=robot.expert_return,
        description=f"{dataset.name} of source {dataset.source}, {dataset.physics} physics, {dataset.fingerprint}",
    )
    written.storage.update_metadata({PHYSICS_KEY: dataset.physics})


def _buffers(dataset: Dataset) -> Iterator[EpisodeBuffer]:
    """Minari's episodes hold one observation more than steps."""
    episodes = dataset.episodes
    stops = np.cumsum(episodes.lengths)
    for stop, length, terminal in zip(stops, episodes.lengths, episodes.terminals, strict=True):
        rows = slice(stop - length, stop)
        last = np.arange(length) == length - 1
        yield EpisodeBuffer(
            observations=np.concatenate([dataset.observations[rows], dataset.next_observations[stop - 1 : stop]]),
            actions=dataset.actions[rows],
            rewards=dataset.rewards[rows],
            terminations=last & terminal,
            truncations=last & ~terminal,
        )


def _open(dataset_id: str) -> minari.MinariDataset:
    try:
        return minari.load_dataset(dataset_id, download=True)
    except Exception as error:  # its hub's client raises kinds of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"cannot get Minari set {dataset_id} ({reason}); local sets are looked for in "
            f"{get_dataset_path('')}, another one is named with --source minari:ID"
        ) from error


def _checked(dataset_id: str) -> str:
    """The id, if Minari can take it: a malformed one would leave a folder that breaks later listings."""
    if not ID.fullmatch(dataset_id):
        raise UserError(f"'{dataset_id}' is no Minari id; write namespace/name-v0 in letters, digits, - and _")
    return dataset_id


def _physics(dataset: minari.MinariDataset) -> DataPhysics:
    """What our own export noted, else the version of the environment that the set names."""
    noted = dataset.storage.metadata.get(PHYSICS_KEY)
    if noted:
        return cast(DataPhysics, noted)
    version = str(dataset.env_spec.id).rpartition("-")[2] if dataset.env_spec else ""
    return cast(DataPhysics, f"gymnasium-{version}") if version in ("v4", "v5") else "unknown"
