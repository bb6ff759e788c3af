"""The presets against the published configurations, written down a second time: h is the horizon, b the weight."""

from collections.abc import Sequence
from typing import Any

import pytest

from offline_mbrl.algorithms.pages import flat_fields
from offline_mbrl.algorithms.presets import resolve
from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.tasks import TASKS

ROBOTS = ("halfcheetah", "hopper", "walker2d")
LEVELS = ("random", "medium", "medium-replay", "medium-expert")
ALL = tuple(f"{robot}-{level}" for robot in ROBOTS for level in LEVELS)
NINE = tuple(task for task in ALL if not task.endswith("-random"))

Table = dict[str, Sequence[Any]]
"""Field -> its value on each of the tasks, halfcheetah's first, each robot's from random to medium-expert."""

CASES: list[tuple[str, str | None, tuple[str, ...], Table]] = [
    (
        "mopo",  # OfflineRL-Kit; the paper's code on the random tasks
        None,
        ALL,
        {
            "horizon": (5, 5, 5, 5, 5, 5, 5, 5, 1, 5, 1, 1),
            "penalty_weight": (0.5, 0.5, 0.5, 2.5, 1.0, 5.0, 2.5, 5.0, 1.0, 0.5, 2.5, 2.5),
        },
    ),
    (
        "mopo",  # tianheyu927/mopo
        "official-v0",
        ALL,
        {
            "horizon": (5, 1, 5, 5, 5, 5, 5, 5, 1, 5, 1, 1),
            "penalty_weight": (0.5, 1.0, 1.0, 5.0, 1.0, 5.0, 1.0, 1.0, 1.0, 5.0, 1.0, 2.0),
            "target_entropy": (-3.0,) * 12,
            "actor_lr": (3e-4,) * 12,
            "critic_lr": (3e-4,) * 12,
            "temperature_lr": (3e-4,) * 12,
            "temperature_max": (None,) * 12,
            "log_std_bounds": ((-20.0, 2.0),) * 12,
        },
    ),
    (
        "combo",  # OfflineRL-Kit
        None,
        NINE,
        {
            "horizon": (5, 5, 5, 5, 5, 5, 1, 1, 1),
            "conservative_weight": (0.5, 0.5, 5.0, 5.0, 0.5, 5.0, 5.0, 0.5, 5.0),
            "real_ratio": (0.5,) * 9,
            "hidden": ((256, 256, 256),) * 9,
            "entropy_in_target": (False,) * 9,
            "action_samples": (10,) * 9,
            "steps": (1_000_000,) * 9,
        },
    ),
    (
        "crop",  # G0K0URURI/CROP, fd128d0
        None,
        ALL,
        {
            "reward.conservatism": (0.01, 0.001, 0.01, 0.001, 0.01, 0.05, 0.01, 0.05, 0.01, 0.05, 0.01, 0.05),
            "horizon": (5, 5, 5, 5, 5, 5, 5, 10, 10, 10, 10, 10),
            "retain": (5, 5, 5, 5, 5, 10, 10, 5, 5, 5, 5, 5),
            "batch_size": (512, 512, 512, 512, 512, 512, 320, 320, 512, 512, 512, 512),
            "critic_hidden": ((512, 512),) * 4 + ((256, 256),) * 4 + ((512, 512),) * 4,
            "temperature": (None, None, None, None, 1.0, *(None,) * 7),
            "steps": [m * 1_000_000 for m in (3, 3, 3, 5, 3, 1, 3, 3, 3, 3, 3, 3)],
            "temperature_lr": (1e-4,) * 12,
            "critic_updates": (2,) * 12,
        },
    ),
    (
        "crop",  # dd7e573
        "v1",
        ALL,
        {
            "reward.conservatism": (0.05, 0.1, 0.1, 0.1, 0.01, 0.05, 0.01, 0.05, 0.01, 0.1, 0.1, 0.1),
            "horizon": (3, 3, 3, 5, 3, 5, 5, 10, 10, 10, 10, 10),
            "temperature_lr": (3e-5,) * 12,
            "steps": (1_000_000,) * 12,
            "batch_size": (512,) * 12,
        },
    ),
    (
        "micro",  # xiaoyinliu0714/MICRO
        None,
        NINE,
        {
            "horizon": (5, 5, 5, 5, 5, 10, 5, 1, 1),
            "gap_weight": (0.5, 0.5, 0.5, 1.0, 0.1, 1.0, 0.5, 0.2, 1.0),
            "real_ratio": (0.05, 0.05, 0.5, 0.05, 0.5, 0.05, 0.05, 0.5, 0.05),
            "temperature": (None, None, None, 0.1, 0.1, None, None, None, None),
            "entropy_in_target": (True, True, False, True, True, False, True, True, True),
            "dynamics.patience": (5, 5, 30, 10, 5, 30, 30, 5, 5),
            "dynamics.max_epochs": (*(None,) * 6, 30, None, None),
        },
    ),
    (
        "mobile",  # yihaosun1124/mobile
        None,
        ALL,
        {
            "horizon": (5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 1, 1),
            "penalty_weight": (0.5, 0.5, 0.1, 1.0, 5.0, 1.5, 0.1, 1.5, 2.0, 0.5, 0.5, 1.5),
            "real_ratio": (0.05, 0.05, 0.05, 0.5, *(0.05,) * 8),
            "temperature": (*(None,) * 5, 0.2, 0.2, *(None,) * 5),
            "dynamics.max_epochs": (*(None,) * 9, 30, None, None),
            "entropy_in_target": (False,) * 12,
            "next_samples": (10,) * 12,
        },
    ),
    (
        "mobile",  # OfflineRL-Kit
        "kit",
        ALL,
        {
            "penalty_weight": (0.5, 0.5, 0.1, 2.0, 5.0, 1.5, 0.1, 1.5, 2.0, 0.5, 0.5, 1.5),
            "real_ratio": (0.05,) * 12,
            "temperature": (*(None,) * 5, 0.2, *(None,) * 6),
            "dynamics.max_epochs": (30,) * 12,
        },
    ),
    (
        "rambo",  # marc-rigter/rambo
        None,
        ALL,
        {
            "horizon": (5, 5, 5, 5, 2, 5, 2, 5, 5, 5, 5, 2),
            "adversary_weight": (0, 3e-4, 3e-4, 3e-4, 3e-4, 3e-4, 3e-4, 3e-4, 0, 0, 0, 3e-4),
            "real_ratio": (0.5,) * 12,
            "rollout_every": (1000,) * 12,
            "dynamics.patience": (11,) * 12,
            "pretrain_epochs": (50,) * 12,
            "steps": (2_000_000,) * 12,
        },
    ),
    (
        "rambo",  # OfflineRL-Kit
        "kit",
        NINE,
        {
            "horizon": (5, 5, 5, 5, 5, 5, 5, 5, 2),
            "adversary_weight": (3e-4, 3e-4, 0, 3e-4, 3e-4, 0, 0, 0, 3e-4),
            "rollout_every": (250,) * 9,
            "dynamics.patience": (10,) * 9,
        },
    ),
    (
        "edac",  # snu-mllab/EDAC
        None,
        ALL,
        {
            "critics": (10, 10, 10, 10, 50, 50, 50, 50, 10, 10, 10, 10),
            "diversity_weight": (0, 1, 1, 5, 0, 1, 1, 1, 1, 1, 1, 5),
        },
    ),
    (
        "edac",  # corl-team/CORL
        "sac-n",
        NINE,
        {"critics": (10, 10, 10, 500, 200, 200, 20, 20, 20), "diversity_weight": (0,) * 9},
    ),
]


@pytest.mark.parametrize(("name", "preset", "tasks", "table"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_presets_are_the_published_values(name: str, preset: str | None, tasks: tuple[str, ...], table: Table) -> None:
    for field, values in table.items():
        assert len(values) == len(tasks)
        for task, value in zip(tasks, values, strict=True):
            resolved = resolve(get_definition(name), task, preset)
            found = {key: entry for key, (entry, _) in flat_fields(resolved.config).items()} | {"steps": resolved.steps}
            assert found[field] == value, (field, task)


SHARED: dict[str, dict[str, object]] = {
    "cql": {"conservative_weight": 5.0, "actor_lr": 1e-4, "critic_lr": 3e-4, "action_samples": 10},
    "iql": {"expectile": 0.7, "inverse_temperature": 3.0, "actor_lr": 3e-4, "critic_lr": 3e-4, "value_lr": 3e-4},
    "td3_bc": {"value_weight": 2.5, "policy_noise": 0.2, "noise_clip": 0.5, "actor_every": 2, "batch_size": 256},
    "bc": {"learning_rate": 3e-4, "batch_size": 256, "hidden": (256, 256)},
    "atac": {"fast_lr": 5e-4, "slow_lr": 5e-7, "norm_bound": 100.0, "target_weight": 0.5, "hidden": (256, 256, 256)},
    "armor": {"fast_lr": 5e-4, "slow_lr": 5e-7, "hidden": (256, 256, 256), "dynamics.members": 1, "batch_size": 256},
}
"""Values that a source gives for every task alike."""


@pytest.mark.parametrize("name", list(SHARED))
def test_values_that_all_tasks_share(name: str) -> None:
    for task in TASKS:
        fields = flat_fields(resolve(get_definition(name), task).config)
        assert {field: fields[field][0] for field in SHARED[name]} == SHARED[name]


VARIANTS: list[tuple[str, str | None, dict[str, object]]] = [
    ("armor", "atac", {"model": "off"}),
    ("armor", "fixed-model", {"model": "fixed"}),
    ("armor", "no-reference", {"reference": "none"}),
    ("atac", "atac0", {"pessimism": "absolute"}),
    ("atac", "official", {"warm_steps": 100_000, "bellman_weight": 16.0}),
    ("bc", "best-10-percent", {"best_share": 0.1}),
    ("combo", None, {"lse_group": "kinds"}),
    ("combo", "kit", {"lse_group": "kinds", "init": "torch"}),
    ("combo", "thirty-way", {"lse_group": "state", "init": "glorot"}),
    ("combo", "model-states", {"rho": "model"}),
    ("combo", "entropy-backup", {"entropy_in_target": True}),
    ("combo", "previous-proposal", {"prior": "previous-proposal", "prior_lag": 1}),
    ("combo", "previous-prior", {"prior": "previous-prior", "prior_lag": 1000}),
    ("combo", "learned-beta", {"weighting": "learned", "lse_group": "kinds", "centered": True, "weight_max": 50.0}),
    ("combo", "naive-beta", {"weighting": "learned", "lse_group": "batch", "centered": False, "threshold": 0.0}),
    ("combo", "no-maximization", {"maximize_data": False}),
    ("cql", "kit", {"lse_group": "kinds", "warm_start": 0.0, "init": "torch"}),
    ("cql", "lagrange", {"weighting": "learned", "threshold": 10.0, "centered": False}),
    ("cql", "official", {"conservative_weight": 10.0, "init": "rlkit"}),
    ("drop", "no-conservatism", {"multiplier": 0.0}),
    ("drop", "random-subsets", {"grouping": "random"}),
    ("mobile", "terminals-exempt", {"penalize_terminals": False}),
    ("morel", None, {"threshold_rule": "quantile"}),
    ("morel", "mean-std", {"threshold_rule": "mean_std", "threshold_scale": 5.0}),
    ("morel", "raw-units", {"disagreement_units": "raw"}),
]


@pytest.mark.parametrize(("name", "preset", "values"), VARIANTS, ids=[f"{v[0]}-{v[1]}" for v in VARIANTS])
def test_a_variant_is_its_settings_on_every_task(name: str, preset: str | None, values: dict[str, object]) -> None:
    for task in TASKS:
        fields = flat_fields(resolve(get_definition(name), task, preset).config)
        assert {field: fields[field][0] for field in values} == values
