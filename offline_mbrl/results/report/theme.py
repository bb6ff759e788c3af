"""Colors of the report in light and dark: every pair of text and ground that the page uses is here, and is tested."""

LIGHT = {
    "page": "#f6f7f9",
    "card": "#ffffff",
    "raised": "#eef1f5",
    "line": "#d5dae1",
    "ink": "#1b1f24",
    "muted": "#57606a",
    "link": "#0b5cad",
    "good": "#1a6b3c",
    "bad": "#a3281c",
    "control": "#767f8a",
}
DARK = {
    "page": "#0f1216",
    "card": "#171b21",
    "raised": "#222831",
    "line": "#38414d",
    "ink": "#e6e9ee",
    "muted": "#a3adba",
    "link": "#79b8ff",
    "good": "#5fd08a",
    "bad": "#ff9a90",
    "control": "#7d8896",
}
TEXT = ("ink", "muted", "link", "good", "bad")
GROUNDS = ("page", "card", "raised")

# Steps of Okabe and Ito's hues (results/plots.py): each stands out from its ground by 3:1, and with any kind of color
# vision from the others.
LINES_LIGHT = ("#00498F", "#A83400", "#00805C", "#CB62AB", "#B88C00", "#2897EF", "#1A1A1A")
LINES_DARK = ("#2F8FD8", "#E8682A", "#12A87A", "#D983B6", "#F0B429", "#8ED0F5", "#F2F2F2")

DASHES = ("solid", "dash", "dashdot", "dot")
"""As Plotly names them; with the colors they tell 28 systems apart."""

# Below, at and above the middle of a map whose cells carry text in `ink`.
DIVERGING_LIGHT = ("#E08E66", "#F3F4F6", "#79A6DB")
DIVERGING_DARK = ("#A3410F", "#262C35", "#1B64A6")


def css_variables(colors: dict[str, str]) -> str:
    """`--name: #rrggbb;` for each color."""
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


def chart_colors() -> dict[str, object]:
    """What the page's script draws with, by theme."""
    return {
        "light": LIGHT | {"lines": LINES_LIGHT, "diverging": DIVERGING_LIGHT},
        "dark": DARK | {"lines": LINES_DARK, "diverging": DIVERGING_DARK},
        "dashes": DASHES,
    }
