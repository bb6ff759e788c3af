"""Tables and figures of robustness records, printed and in a folder."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from offline_mbrl.results.layout import as_markdown
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.robustness.figures import draw_all
from offline_mbrl.results.robustness.gather import gather_robustness
from offline_mbrl.results.robustness.tables import robustness_tables
from offline_mbrl.storage.files import write_atomically, write_text

DOTS = 120
"""Per inch."""


def write_tables(folders: Sequence[Path], out: Path | None = None, digits: int = 1) -> str:
    """The tables of the runs in `folders` in Markdown; with their figures also in the folder `out`.

    Raises:
        UserError: there is nothing to tabulate, or `out` cannot be written.
    """
    measured = gather_robustness(folders)
    text = "\n".join(as_markdown(table) for table in robustness_tables(measured, Style(digits)))
    if out is not None:
        write_text(out / "robustness.md", text)
        for name, figure in draw_all(measured).items():
            with write_atomically(out / f"{name}.png") as file:
                file.write(as_png(figure))
    return text


def as_png(figure: Figure) -> bytes:
    """The picture's file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS)
    return buffer.getvalue()
