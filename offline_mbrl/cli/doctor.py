"""Checks of the machine that a user can act on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from offline_mbrl.data.cache import cache_folder
from offline_mbrl.errors import UserError


class Check(NamedTuple):
    """What one check found."""

    name: str
    ok: bool
    finding: str


def checks(data_dir: Path | None, cache_dir: Path | None) -> list[Check]:
    """Every check in order; one that fails does not stop the others."""
    named: dict[str, Callable[[], str]] = {
        "versions": _versions,
        "device": _device,
        "threads": _threads,
        "mujoco": _mujoco,
        "cache": lambda: _cache(cache_folder(cache_dir)),
        "d4rl files": lambda: _data(data_dir),
        "behavior policies": _policies,
    }
    return [_run(name, check) for name, check in named.items()]


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:
        return Check(name, False, " ".join(f"{type(error).__name__}: {error}".split()))


def _versions() -> str:
    from offline_mbrl.machine import versions

    return ", ".join(f"{name} {number}" for name, number in versions().items())


def _device() -> str:
    import jax

    names = ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices())
    total = float(jax.jit(lambda x: (x @ x).sum())(np.ones((64, 64), np.float32)))
    if total != 64.0**3:
        raise UserError(f"a product of ones gave {total}, not {64.0**3}; the device or its driver is broken")
    return names


def _threads() -> str:
    from offline_mbrl.machine import available_cores

    return f"{available_cores()} of {os.cpu_count()} cores may be used"


def _mujoco() -> str:
    """Steps every robot, and weighs the hopper under both physics: the old engine's torso is the lighter one."""
    import mujoco

    from offline_mbrl.simulation.physics import load_model
    from offline_mbrl.simulation.simulator import Simulator
    from offline_mbrl.tasks import PHYSICS, ROBOTS

    for robot in ROBOTS.values():
        simulator = Simulator(robot, 1)
        simulator.reset([0])
        if not np.isfinite(simulator.step(np.zeros((1, robot.action_dim))).obs).all():
            raise UserError(f"one step of {robot.name} is not finite; the MuJoCo installation is broken")
    masses = [
        f"{float(load_model(ROBOTS['hopper'], physics).body_mass.sum()):.4f} kg under {physics}" for physics in PHYSICS
    ]
    return f"{mujoco.__version__}, robots step, hopper weighs {' and '.join(masses)}"


def _cache(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} is not writable; set OFFLINE_MBRL_CACHE to a folder that is")
    free = os.statvfs(folder)
    return f"{folder}, {free.f_bavail * free.f_frsize / 2**30:.1f} GiB free"


def _data(data_dir: Path | None) -> str:
    from offline_mbrl.data.d4rl.files import folders

    looked = [f"{folder} ({len(list(folder.glob('*.hdf5')))} files)" for folder in folders(data_dir)]
    return "looked in " + ", ".join(looked)


def _policies() -> str:
    from offline_mbrl.data.builtin.behaviors import WEIGHTS

    return ", ".join(sorted(path.stem for path in WEIGHTS.glob("*.npz"))) or "none are shipped with this installation"
