from pathlib import Path

import pytest

from offline_mbrl.data.plots import return_histogram
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import get_task


@pytest.mark.parametrize(("name", "begins"), [("r.pdf", b"%PDF"), ("r.png", b"\x89PNG"), ("r.SVG", b"<?xml")])
def test_the_histogram_is_of_the_kind_that_its_name_says(name: str, begins: bytes, tmp_path: Path) -> None:
    path = return_histogram(synthetic(get_task("hopper-medium"), 500), tmp_path / name)
    assert path.read_bytes().startswith(begins)


def test_its_mean_is_labeled(tmp_path: Path) -> None:
    text = return_histogram(synthetic(get_task("hopper-medium"), 500), tmp_path / "r.svg").read_text()
    assert "complete episodes" in text
    assert "normalized score of an episode" in text


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png, \.pdf, \.svg, not as '\.jpg'"):
        return_histogram(synthetic(get_task("hopper-medium"), 100), tmp_path / "r.jpg")
