"""What an index shows of the package: the README with links that lead somewhere, and the project's addresses.

The addresses are those of $PROJECT_URL, which the release workflow sets to the repository it runs in. Without it the
README's links into the repository become plain text and its pictures go, so that nothing is broken.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)")
LINKED_PICTURE = re.compile(r"\[!\[[^\]]*\]\((?!https?:)[^)]+\)\]\((?!https?:)[^)]+\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")


def for_an_index(readme: str, url: str | None) -> str:
    """`readme` with absolute links to the repository at `url`, or without links into it where there is no address."""
    if url is None:
        return LINK.sub(r"\1", PICTURE.sub("", LINKED_PICTURE.sub("", readme)))
    readme = PICTURE.sub(rf"![\1]({url}/raw/HEAD/\2)", readme)
    # What is left that is relative is a link, also one whose text is a picture.
    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", rf"]({url}/blob/HEAD/\1)", readme)


def addresses(url: str | None) -> dict[str, str]:
    """The project's addresses by the names that indexes know."""
    if url is None:
        return {}
    return {
        "Source": url,
        "Issues": f"{url}/issues",
        "Changelog": f"{url}/blob/HEAD/CHANGELOG.md",
        "Documentation": f"{url}/tree/HEAD/docs",
    }


class IndexMetadata(MetadataHookInterface):
    """Fills in `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by the build with the table [project]."""
        url = os.environ.get("PROJECT_URL", "").rstrip("/") or None
        text = for_an_index((Path(self.root) / "README.md").read_text(encoding="utf-8"), url)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        if url:
            metadata["urls"] = addresses(url)
