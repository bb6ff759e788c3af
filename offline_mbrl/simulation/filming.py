"""Draws played episodes: `python -m offline_mbrl.simulation.filming`, a process of its own.

MuJoCo chooses how it draws when it is imported, and a driver that does not work may end the process; so the one that
asks for a film tries one way after the other (`film`).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.errors import UserError
from offline_mbrl.simulation.playing import Played, read_played, save_played

Frame = NDArray[np.uint8]

FRAMES_PER_SECOND = 25
"""About: a whole number of control steps lies between two frames, so that the film runs in real time."""

NEEDS = "films need imageio with ffmpeg; pip install 'offline-mbrl[video]'"
SUFFIXES = (".mp4", ".gif")


@dataclass(frozen=True)
class Scene:
    """What is filmed: `labels[row][column]` names the robots in the order of the played rows."""

    robot: str
    physics: str
    labels: Sequence[Sequence[str]]
    width: int = 320
    height: int = 240


def film(scene: Scene, played: Played, outs: Sequence[Path]) -> list[Path]:
    """Writes a film to each of `outs` (.mp4 or .gif), drawn once; returns them.

    Raises:
      UserError: a name is neither, a package is missing, or there is no way to draw on this machine.
    """
    for out in outs:
        if out.suffix not in SUFFIXES:
            raise UserError(f"a film is written as .mp4 or .gif, not as {out.name}")
    said = ""
    with tempfile.TemporaryDirectory() as folder:
        save_played(played, Path(folder) / "played.npz")
        (Path(folder) / "scene.json").write_text(json.dumps(asdict(scene)))
        for way in ways():
            command = [sys.executable, "-m", "offline_mbrl.simulation.filming", folder, *map(str, outs)]
            ended = subprocess.run(command, env=os.environ | way, capture_output=True, text=True, check=False)
            if ended.returncode == 0:
                return list(outs)
            said = next(reversed(ended.stderr.strip().splitlines()), f"ended with code {ended.returncode}")
            if said == NEEDS:
                raise UserError(NEEDS)
    raise UserError(
        f"nothing here can draw ({said}); install libegl1 or libosmesa6, or set MUJOCO_GL to what works on this machine"
    )


def ways() -> list[dict[str, str]]:
    """Settings to draw by, in the order to try them: the user's own alone, or without a display EGL and then OSMesa."""
    if "MUJOCO_GL" in os.environ or sys.platform != "linux":
        return [{}]
    return [{"MUJOCO_GL": name, "PYOPENGL_PLATFORM": name} for name in ("egl", "osmesa")]


def frame_steps(step_seconds: float) -> int:
    """Control steps between two frames."""
    return max(1, round(1 / (FRAMES_PER_SECOND * step_seconds)))


def compose(cells: Sequence[Frame], columns: int) -> Frame:
    """Pictures [H, W, 3] beside and below each other."""
    rows = [np.concatenate(cells[start : start + columns], axis=1) for start in range(0, len(cells), columns)]
    return np.concatenate(rows, axis=0)


def with_label(picture: Frame, text: str, dimmed: bool) -> Frame:
    """The picture with a line of text over it; darker where the episode has ended."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture // 2 if dimmed else picture)
    ImageDraw.Draw(image).text((6, 4), text, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(image)


def draw(scene: Scene, played: Played) -> Iterator[Frame]:
    """The frames of the film."""
    import mujoco

    model, every = _model(scene)
    names, columns = [name for row in scene.labels for name in row], len(scene.labels[0])
    data = mujoco.MjData(model)
    with mujoco.Renderer(model, scene.height, scene.width) as renderer:
        for step in range(0, len(played.qpos), every):
            cells = []
            for row, name in enumerate(names):
                data.qpos[:] = played.qpos[step, row]
                mujoco.mj_forward(model, data)
                renderer.update_scene(data, camera="track")
                ended = not played.alive[step, row]
                score = f"{name}  score {played.score[step, row]:.1f}{' (ended)' if ended else ''}"
                cells.append(with_label(renderer.render(), score, ended))
            yield compose(cells, columns)


def _model(scene: Scene) -> tuple[Any, int]:
    """The robot's model, and the control steps between two frames."""
    from offline_mbrl.simulation.physics import load_model
    from offline_mbrl.tasks import get_robot

    robot = get_robot(scene.robot)
    model = load_model(robot, scene.physics)  # type: ignore[arg-type]
    model.vis.global_.offwidth, model.vis.global_.offheight = scene.width, scene.height
    return model, frame_steps(model.opt.timestep * robot.frame_skip)


def main() -> None:
    """Draws what `film` wrote into a folder."""
    try:
        import imageio.v3 as iio
        import imageio_ffmpeg  # noqa: F401
        import PIL  # noqa: F401
    except ImportError:
        sys.exit(NEEDS)
    folder, *outs = map(Path, sys.argv[1:])
    scene = Scene(**json.loads((folder / "scene.json").read_text()))
    model, every = _model(scene)
    from offline_mbrl.tasks import get_robot

    seconds = model.opt.timestep * get_robot(scene.robot).frame_skip * every
    frames = np.stack(list(draw(scene, read_played(folder / "played.npz"))))
    for out in outs:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".gif":
            iio.imwrite(out, frames, duration=1000 * seconds, loop=0)
        else:
            iio.imwrite(out, frames, fps=1 / seconds, codec="libx264", macro_block_size=2)


if __name__ == "__main__":
    main()
