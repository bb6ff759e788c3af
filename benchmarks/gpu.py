"""NVIDIA GPUs as XLA describes them, so that programs are compiled for one that is not there, and what they would take.

It needs jax's CUDA plugin and NVIDIA's compiler, which `pip install 'offline-mbrl[cuda]'` brings (some 5 GB), but no
GPU. What XLA chooses by measuring kernels on the card, it chooses here by its own estimate.
"""

import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
from hlo import Kernel
from jax.experimental import topologies
from jax.stages import Compiled

from offline_mbrl.errors import UserError, unknown_name

NEEDS = (
    "compiling for a GPU that is not there needs jax's CUDA plugin and NVIDIA's compiler; in an environment of its own "
    "run: pip install 'offline-mbrl[cuda]' (about 5 GB; no GPU is needed)"
)


MIB = 2**20


class GPU(NamedTuple):
    """What the compiler asks about a card, and its ceilings; the numbers are OpenXLA's target_config/specs."""

    title: str
    capability: int  # major
    cores: int  # streaming multiprocessors
    fpus: int  # of each
    clock_ghz: float
    memory: int  # bytes
    bandwidth: float  # bytes/s
    cache: int  # bytes of the second level
    shared: int  # bytes for each core
    shared_block: int  # bytes that a block may ask for
    products: float  # FLOP/s of dense TF32 products (NVIDIA's data sheets)


GPUS = {
    "h200": GPU("NVIDIA H200 141GB HBM3e", 9, 132, 128, 1.98, 151397597184, 4.8e12, 52428800, 233472, 232448, 494.7e12),
    "h100": GPU(
        "NVIDIA H100 80GB HBM3", 9, 132, 128, 1.98, 84942979072, 3.35232e12, 52428800, 233472, 232448, 494.7e12
    ),
    "a100": GPU("NVIDIA A100-SXM4-80GB", 8, 108, 64, 1.41, 85100068864, 2.03904e12, 41943040, 167936, 166912, 156e12),
}

LAUNCH = 1.3e-6
"""Seconds that a kernel takes at least."""

SHARE_OF_BANDWIDTH, SHARE_OF_PRODUCTS = 0.83, 0.2
"""Of the card's ceilings, what kernels of this size reach.

With them and `LAUNCH` the rates of SAC's update that were measured on an H200 (issue 12) come out within 20 %; for the
other cards the same shares are assumed.
"""


def get_gpu(name: str) -> GPU:
    """The card called `name`; `UserError` with a suggestion otherwise."""
    if name not in GPUS:
        raise unknown_name("described GPU", name, GPUS)
    return GPUS[name]


def predict(gpu: GPU, kernels: Iterable[Kernel]) -> float:
    """Seconds of a program: each kernel takes its launch, its traffic or its arithmetic, whichever is longest."""
    bandwidth, products = SHARE_OF_BANDWIDTH * gpu.bandwidth, SHARE_OF_PRODUCTS * gpu.products
    return sum(k.trips * max(LAUNCH, k.bytes / bandwidth, k.flop / products) for k in kernels)


def prepare() -> None:
    """Tells jax where the compiler is, before it is first used.

    Raises:
      UserError: it is not installed.
    """
    compiler = _compiler()
    if compiler is None or not _has_plugin():
        raise UserError(NEEDS)
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # there is no driver whose version could be asked for
    os.environ["PATH"] = f"{compiler / 'bin'}:{os.environ['PATH']}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_cuda_data_dir={compiler}"
    jax.config.update("jax_platforms", "cpu")  # what is run while programs are built runs here


def compile_for(gpu: GPU, function: Callable[..., Any], *shapes: Any, **options: Any) -> Compiled:
    """`function` compiled for the card, from the shapes of its arguments alone; `prepare` was called before.

    Raises:
      UserError: jax finds no compiler for CUDA.
    """
    try:
        described = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=_description(gpu))
    except NotImplementedError as error:
        raise UserError(f"{NEEDS} ({error})") from None
    place = jax.sharding.SingleDeviceSharding(described.devices[0])
    placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes)
    return jax.jit(function, **options).trace(*placed).lower(lowering_platforms=("cuda",)).compile()


def _compiler() -> Path | None:
    """The folder of NVIDIA's compiler in this environment: that of CUDA 12's packages, or of CUDA 13's."""
    spec = find_spec("nvidia")
    folders = (
        [Path(root) / name for root in (spec.submodule_search_locations or ()) for name in ("cuda_nvcc", "cu13")]
        if spec
        else []
    )
    return next((folder for folder in folders if (folder / "bin" / "ptxas").exists()), None)


def _has_plugin() -> bool:
    names = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")
    return find_spec("jax_plugins") is not None and any(find_spec(name) for name in names)


def _description(gpu: GPU) -> str:
    """The card as XLA's GpuTargetConfigProto, in text."""
    return f"""
    gpu_device_info {{
      threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
      thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
      block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
      registers_per_core_limit: 65536 registers_per_block_limit: 65536
      shared_memory_per_block: 49152 shared_memory_per_core: {gpu.shared}
      shared_memory_per_block_optin: {gpu.shared_block}
      core_count: {gpu.cores} fpus_per_core: {gpu.fpus} clock_rate_ghz: {gpu.clock_ghz}
      memory_bandwidth: {gpu.bandwidth:.0f} l2_cache_size: {gpu.cache} device_memory_size: {gpu.memory}
      cuda_compute_capability {{ major: {gpu.capability} }}
    }}
    platform_name: "CUDA"
    dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
    runtime_version {{ major: 12 minor: 9 patch: 0 }}
    device_description_str: "{gpu.title}"
    """
