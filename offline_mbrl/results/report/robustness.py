"""What the runs' robustness records say, as tables and pictures that a page can hold."""

from base64 import b64encode
from collections.abc import Iterable
from typing import NamedTuple

from offline_mbrl.errors import UserError
from offline_mbrl.results.layout import as_html
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.report.gather import Gathered, JobFolder, LeftOut
from offline_mbrl.results.robustness.figures import draw_all
from offline_mbrl.results.robustness.gather import gather_robustness
from offline_mbrl.results.robustness.tables import robustness_tables
from offline_mbrl.results.robustness.write import as_png
from offline_mbrl.robustness.study import ROBUSTNESS

CAPTIONS = {
    "grid": "Score over friction and gravity; the cross is the run's own physics.",
    "grid_released": "The same where only what the robot's file spells out is multiplied, as in MICRO's released code.",
    "curves": "Score over an attack's epsilon, and over one multiplier at a time; mean over seeds.",
}


class Picture(NamedTuple):
    """A figure as text, and its caption."""

    data: str
    caption: str


class Section(NamedTuple):
    """The part of the page; empty where no run was measured."""

    tables: list[str]
    pictures: list[Picture]


def section(gathered: Gathered) -> Section:
    """The tables and pictures of all runs that have records; records that cannot be read are named as left out."""
    folders = [job.folder for job in _measured(gathered.jobs)]
    if not folders:
        return Section([], [])
    try:
        measured = gather_robustness(folders)
    except UserError as error:
        gathered.left_out.append(LeftOut("robustness", str(error)))
        return Section([], [])
    pictures = [Picture(_as_text(as_png(figure)), CAPTIONS[name]) for name, figure in draw_all(measured).items()]
    return Section([as_html(table) for table in robustness_tables(measured, Style(1))], pictures)


def _measured(jobs: Iterable[JobFolder]) -> list[JobFolder]:
    return [job for job in jobs if (job.folder / ROBUSTNESS).exists()]


def _as_text(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"
