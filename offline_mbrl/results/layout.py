"""A table as strings, and how it reads in Markdown, LaTeX and HTML."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from tabulate import tabulate

# A private sign on either side of what stands out; each format has its own words for it.
EMPHASIS, END = "\ue000", "\ue001"
LATEX_TEXT = str.maketrans({sign: f"\\{sign}" for sign in "_%&#$"})
LATEX_SIGNS = str.maketrans({"±": r"$\pm$", "×": r"$\times$", "–": "--", "−": "$-$", EMPHASIS: r"\textbf{", END: "}"})


@dataclass(frozen=True)
class Table:
    """The strings of a table: a head, one line per row, and the caption that says how the numbers came about."""

    head: list[str]
    lines: list[list[str]]
    caption: str


def emphasized(text: str) -> str:
    """`text`, to be set in bold."""
    return f"{EMPHASIS}{text}{END}"


def as_markdown(content: Table) -> str:
    """A pipe table and its caption below."""
    lines = [[_in_markdown(cell) for cell in line] for line in content.lines]
    body = tabulate(lines, content.head, tablefmt="pipe", disable_numparse=True, colalign=_align(content))
    return f"{body}\n\n{content.caption}\n"


def as_latex(content: Table) -> str:
    """A floating table with its caption above, for the packages booktabs and textcomp."""
    body = tabulate(
        content.lines, content.head, tablefmt="latex_booktabs", disable_numparse=True, colalign=_align(content)
    )
    caption = content.caption.translate(LATEX_TEXT)
    text = f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{body}\n\\end{{table}}\n"
    return text.translate(LATEX_SIGNS)


def as_html(content: Table) -> str:
    """A `table` element with its caption, to be put into a page."""
    body = tabulate(content.lines, content.head, tablefmt="html", disable_numparse=True, colalign=_align(content))
    caption = f"<table>\n<caption>{escape(content.caption)}</caption>"
    return body.replace("<table>", caption, 1).replace(EMPHASIS, "<strong>").replace(END, "</strong>") + "\n"


WRITERS: dict[str, Callable[[Table], str]] = {"md": as_markdown, "latex": as_latex, "html": as_html}


def _in_markdown(cell: str) -> str:
    return cell.replace(EMPHASIS, "**").replace(END, "**")


def _align(content: Table) -> list[str]:
    return ["left"] + ["right"] * (len(content.head) - 1)
