"""Tables are written as GitHub reads them; the site's Markdown reads a pipe in code otherwise."""

import re
from typing import Any

CODE = re.compile(r"(`+)(.+?)\1")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page, in whose tables an escaped pipe in code is a pipe."""
    return "\n".join(unescape(line) if line.startswith("|") else line for line in markdown.split("\n"))


def unescape(row: str) -> str:
    """The row with plain pipes in its code."""
    return CODE.sub(lambda code: code.group().replace("\\|", "|"), row)
