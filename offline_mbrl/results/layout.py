"""A table as strings, and how it reads in Markdown and LaTeX."""

from dataclasses import dataclass

from tabulate import tabulate

LATEX_TEXT = str.maketrans({sign: f"\\{sign}" for sign in "_%&#$"})
LATEX_SIGNS = str.maketrans(
    {"±": r"$\pm$", "×": r"$\times$", "–": "--", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"\S{}", "¶": r"\P{}"}
)


@dataclass(frozen=True)
class Table:
    """The strings of a table: a head, one line per row, and the caption that says how the numbers came about."""

    head: list[str]
    lines: list[list[str]]
    caption: str


def as_markdown(content: Table) -> str:
    """A pipe table and its caption below."""
    align = ["left"] + ["right"] * (len(content.head) - 1)
    body = tabulate(content.lines, content.head, tablefmt="pipe", disable_numparse=True, colalign=align)
    return f"{body}\n\n{content.caption}\n"


def as_latex(content: Table) -> str:
    """A floating table with its caption above, for the packages booktabs and textcomp."""
    align = ["left"] + ["right"] * (len(content.head) - 1)
    body = tabulate(content.lines, content.head, tablefmt="latex_booktabs", disable_numparse=True, colalign=align)
    caption = content.caption.translate(LATEX_TEXT)
    text = f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{body}\n\\end{{table}}\n"
    return text.translate(LATEX_SIGNS)
