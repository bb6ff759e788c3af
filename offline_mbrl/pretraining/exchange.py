"""Fits as files, to be published and reused: one .npz without pickles, with what the fit was made of.

A file is taken in only where it says that it was made by the same configuration from the same data: then it is the fit
that would be made here.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from offline_mbrl.errors import UserError
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.pretraining.fit import result_shape
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.storage.files import write_atomically
from offline_mbrl.storage.lock import wait_for
from offline_mbrl.types import Data

FORMAT = "offline-mbrl fit 1"


class Made(NamedTuple):
    """What a fit is made of: equal values are equal fits, up to rounding between devices."""

    name: str
    version: int
    config: Mapping[str, Any]
    task: str
    fingerprint: str


def made_of(name: str, pretraining: Pretraining, task: str, fingerprint: str) -> Made:
    """What the fit called `name` is made of here."""
    return Made(name, pretraining.version, pretraining.config.model_dump(mode="json"), task, fingerprint)


def export_fit(
    folder: Path, made: Made, about: Mapping[str, Any], out: Path, seeds: Sequence[int] | None = None
) -> list[int]:
    """Writes the fits of `seeds` (all that are kept when None) from the store's `folder` to `out`; the seeds.

    Raises:
      UserError: none is kept, or one of the seeds is not.
    """
    saved = Checkpoints(folder / "seeds", keep=None) if (folder / "seeds").is_dir() else None
    kept = [seed for seed in saved.steps() if saved.is_sound(seed)] if saved else []
    chosen = kept if seeds is None else list(seeds)
    missing = [seed for seed in chosen if seed not in kept]
    if not kept or missing or saved is None:
        which = f"seed {missing[0]}" if missing else "this configuration on these data"
        raise UserError(f"no fit of {which} is kept here; `offline-mbrl dynamics fit` makes it")
    arrays = {}
    for seed in chosen:
        for path, leaf in jax.tree_util.tree_leaves_with_path(saved.restore_plain(seed)):
            arrays[f"{seed}:{_name(path)}"] = np.asarray(leaf)
    saved.close()
    head = json.dumps({"format": FORMAT, "made": made._asdict(), "seeds": chosen, "about": dict(about)})
    with write_atomically(out) as file:
        np.savez_compressed(file, head=np.frombuffer(head.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return chosen


def read_head(path: Path) -> dict[str, Any]:
    """What a file says of the fits in it.

    Raises:
      UserError: it is none that `dynamics export` wrote.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            head: dict[str, Any] = json.loads(arrays["head"].tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, AttributeError, EOFError, TypeError) as error:
        raise UserError(f"{path} is no file that `dynamics export` wrote ({type(error).__name__})") from error
    if head.get("format") != FORMAT:
        raise UserError(f"{path} has the format {head.get('format')}; this version reads {FORMAT}")
    return head


def import_fit(path: Path, folder: Path, pretraining: Pretraining, made: Made, data: Data) -> list[int]:
    """Takes the fits of `path` into the store's `folder`, where training finds them; the seeds that are new.

    Raises:
      UserError: they were made of something else (the line names it), or their arrays have other shapes.
    """
    head = read_head(path)
    check_made(Made(**head["made"]), made, path)
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), result_shape(pretraining, data, 1)
    )
    folder.mkdir(parents=True, exist_ok=True)
    new = []
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays, wait_for(folder / "lock", "a fit"):
        saved = Checkpoints(folder / "seeds", keep=None)
        for seed in head["seeds"]:
            if not saved.is_sound(seed):
                saved.save(seed, _tree(template, arrays, seed, path))
                new.append(seed)
        saved.close()
    return new


def check_made(theirs: Made, ours: Made, path: Path) -> None:
    """`UserError` where a fit was made of something else; the first difference is named."""
    for field in ("name", "task", "fingerprint", "version"):
        if getattr(theirs, field) != getattr(ours, field):
            what = "data" if field == "fingerprint" else field
            short = [str(getattr(one, field))[:16] for one in (theirs, ours)]
            raise UserError(f"{path} was made of another {what}: {short[0]}, here it is {short[1]}")
    for name in sorted(theirs.config.keys() | ours.config.keys()):
        values = theirs.config.get(name), ours.config.get(name)
        if values[0] != values[1]:
            raise UserError(
                f"{path} was made with {name}={json.dumps(values[0])}, here it is {json.dumps(values[1])}; give "
                f"--set dynamics.{name}={json.dumps(values[0])}, in training too"
            )


def _tree(template: Any, arrays: Any, seed: int, path: Path) -> Any:
    """One seed's result, shaped as it must be here."""

    def leaf(where: Any, shape: jax.ShapeDtypeStruct) -> Any:
        name = f"{seed}:{_name(where)}"
        found = arrays[name] if name in arrays.files else None
        if found is None or (found.shape, found.dtype) != (shape.shape, shape.dtype):
            raise UserError(f"{path} has no array {name} of shape {shape.shape}; it is from another version")
        return found

    return jax.tree_util.tree_map_with_path(leaf, template)


def _name(path: Any) -> str:
    """As `weights.layers.0.bias`, the same for a named tuple and the dictionary that it is saved as."""
    return ".".join(str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path)
