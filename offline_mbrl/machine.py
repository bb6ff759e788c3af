"""This machine as the program finds it: cores, devices, installed versions, compiled programs."""

import os
import platform
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from offline_mbrl.errors import UserError


def available_cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


PACKAGES = ("offline-mbrl", "jax", "jaxlib", "flax", "optax", "distrax", "orbax-checkpoint", "mujoco", "numpy")


COMPILED_BYTES = 2**30
"""Compiled programs that are kept on a host at most; those that were not used for longest go first."""


def versions() -> dict[str, str]:
    """Installed versions of the packages that can move a number, and Python's."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def keep_compiled(folder: Path) -> None:
    """Keeps compiled programs in `folder` for the processes that come later; $JAX_COMPILATION_CACHE_DIR goes before it.

    Each host has a folder of its own: code made for one processor may not run on another.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder / platform.node()))
        jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
        # It saves time and no more: where it cannot be written or read, programs are compiled.
        warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")


def select_device(name: str) -> None:
    """Makes "cpu", "gpu" or "tpu" the default device; "auto" leaves JAX's choice.

    Raises:
      UserError: there is no such device.
    """
    if name == "auto":
        return
    try:
        jax.config.update("jax_default_device", jax.devices(name)[0])
    except RuntimeError:
        have = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise UserError(
            f"no {name} is available to JAX (it sees: {have}); install the extra for it, such as "
            "pip install 'offline-mbrl[cuda]', or leave out --device"
        ) from None


def visible_devices() -> list[jax.Device]:
    """This process's devices of the kind that was selected, or that JAX chooses."""
    selected = jax.config.jax_default_device  # type: ignore[attr-defined]
    return jax.local_devices(backend=None if selected is None else selected.platform)
