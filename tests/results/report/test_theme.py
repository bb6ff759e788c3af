"""Contrast by WCAG 2.1: text 4.5:1 (1.4.3), lines and controls 3:1 (1.4.11); colors apart with any color vision."""

from itertools import combinations

import numpy as np
import pytest

from offline_mbrl.results.report import theme

THEMES = {
    "light": (theme.LIGHT, theme.LINES_LIGHT, theme.DIVERGING_LIGHT),
    "dark": (theme.DARK, theme.LINES_DARK, theme.DIVERGING_DARK),
}

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as it is seen.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
SRGB_TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
WHITE = [0.9505, 1.0, 1.089]

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def linear(color: str) -> Floats:
    parts = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: Floats) -> Floats:
    x = np.array(SRGB_TO_XYZ) @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", THEMES)
def test_every_text_stands_out_from_every_ground(name: str) -> None:
    colors, _, _ = THEMES[name]
    weak = {(t, g) for t in theme.TEXT for g in theme.GROUNDS if contrast(colors[t], colors[g]) < 4.5}
    assert weak == set()


@pytest.mark.parametrize("name", THEMES)
def test_lines_and_controls_stand_out_from_the_cards(name: str) -> None:
    colors, lines, _ = THEMES[name]
    assert [color for color in (*lines, colors["control"]) if contrast(color, colors["card"]) < 3] == []


@pytest.mark.parametrize("name", THEMES)
def test_the_numbers_of_a_map_can_be_read_on_all_its_colors(name: str) -> None:
    colors, _, diverging = THEMES[name]
    assert min(contrast(colors["ink"], color) for color in diverging) >= 4.5


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("name", THEMES)
def test_lines_differ_with_any_color_vision(name: str, vision: str) -> None:
    _, lines, _ = THEMES[name]
    seen = [lab(np.array(VISION[vision]) @ linear(color)) for color in lines]
    assert min(float(np.linalg.norm(x - y)) for x, y in combinations(seen, 2)) > 12
