"""Colours, shapes and type of page and figures, decided once.

The family colours are Paul Tol's "high contrast" scheme (told apart with every common colour-vision
deficiency and in greyscale), darkened for paper and lightened for the dark page. Each family also
has its own shape.
"""

from typing import Any

TITLES = {"vit": "ViT", "hybrid": "Hybrid", "resnet": "ResNet"}
SHAPES = ["circle", "diamond", "square", "triangle-up", "cross", "triangle-down"]
MODES: dict[str, dict[str, Any]] = {
    "light": {
        "paper": "#fbfaf8",
        "card": "#ffffff",
        "ink": "#1c1e22",
        "soft": "#5a5f69",
        "line": "#e4e1da",
        "grid": "#eceae5",
        "accent": "#0f4c81",
        "warn": "#9a3412",
        "families": ["#0f4c9c", "#b07908", "#b8475a", "#2a7f62", "#7a4a9e", "#3f7f93"],
    },
    "dark": {
        "paper": "#14161a",
        "card": "#1b1e24",
        "ink": "#e9e7e2",
        "soft": "#a2a6af",
        "line": "#30343d",
        "grid": "#292d35",
        "accent": "#8fbdf0",
        "warn": "#f0a583",
        "families": ["#7fb2f2", "#e8c05a", "#ee8fa0", "#6fcfab", "#c4a1e4", "#8fcbdc"],
    },
}
# The page's charts name CSS variables, so that a change of mode needs no redraw.
_CSS = {
    **{k: f"var(--{k})" for k in MODES["light"]},
    "families": [f"var(--family-{i})" for i in range(len(SHAPES))],
}
# No "system-ui": on Linux it is often a wide screen font that fits neither tables nor charts.
FONT = '-apple-system, "Segoe UI", Inter, Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'


def order(families: set[str]) -> list[str]:
    """Known families first, in the order of the question; others by name."""
    known = list(TITLES)
    return sorted(families, key=lambda f: (known.index(f) if f in known else len(known), f))


def title(family: str) -> str:
    return TITLES.get(family, family)


def slots(families: list[str]) -> dict[str, int]:
    """Family -> index of its colour and shape. A known family keeps its own whichever others are present; others take
    what is left, and share only when there are more families than colours."""
    known = list(TITLES)
    taken = {f: known.index(f) for f in families if f in known}
    left = [i for i in (*range(len(known), len(SHAPES)), *range(len(known))) if i not in taken.values()]
    others = [f for f in families if f not in known]
    return taken | {f: left[n % len(left)] for n, f in enumerate(others)}


def vega_config(mode: str, families: list[str]) -> dict[str, Any]:
    """Vega-Lite config of a mode (light, dark, css). Categorical ranges are in the order of ``families``."""
    tone = _CSS if mode == "css" else MODES[mode]
    index = slots(families)
    axis = {
        "labelColor": tone["soft"],
        "titleColor": tone["ink"],
        "gridColor": tone["grid"],
        "domainColor": tone["line"],
        "tickColor": tone["line"],
        "labelFontSize": 11.5,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "titlePadding": 10,
        "labelPadding": 6,
        "tickSize": 4,
        "labelOverlap": "greedy",
        "domain": False,
    }
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "axisX": {"grid": False, "domain": True},
        "axisY": {"ticks": False, "grid": True},
        "legend": {
            "orient": "top",
            "title": None,
            "labelColor": tone["ink"],
            "labelFontSize": 12,
            "symbolSize": 80,
            "symbolOpacity": 1,
            "symbolStrokeWidth": 1.5,
            "offset": 6,
            "padding": 0,
            "columnPadding": 18,
        },
        "text": {"color": tone["ink"], "font": FONT},
        "style": {
            "dot": {"stroke": tone["card"], "strokeWidth": 1},
            "ring": {"color": tone["ink"], "strokeWidth": 1.6},
            "interval": {"color": tone["ink"], "opacity": 0.07},
            "crossing": {"color": tone["soft"], "strokeWidth": 1.3},
            "crossing-label": {"color": tone["ink"], "fontSize": 11.5, "lineHeight": 15},
        },
        "range": {
            "category": [tone["families"][index[f]] for f in families],
            "symbol": [SHAPES[index[f]] for f in families],
        },
    }
