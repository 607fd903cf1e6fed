"""Axes, colours and the marks of measured points, shared by all layers of one chart."""

from dataclasses import dataclass
from typing import Any

from pipeline.report import numbers, series, theme
from pipeline.report.ticks import log_ticks

Row = dict[str, Any]


@dataclass
class Frame:
    """Axes and family colours that all layers of one chart share."""

    names: list[str]
    x_domain: list[float]
    y_domain: list[float]
    x_title: str
    y_title: str
    metric: str

    def x(self, field: str = "x") -> Any:
        import altair as alt

        # 1e15 -> "1 P": the prefix apart from the number, as in the text of the page
        label = "replace(format(datum.value, '~s'), regexp('([a-zA-Z])$'), '\u00a0$1')"
        axis = alt.Axis(title=self.x_title, values=log_ticks(self.x_domain), labelExpr=label)
        return alt.X(f"{field}:Q", scale=alt.Scale(type="log", domain=self.x_domain, nice=False), axis=axis)

    def y(self, field: str = "y") -> Any:
        import altair as alt

        percent = "format(datum.value * 100, '~g') + '\u00a0%'"
        label = percent if numbers.is_share(self.metric) else "format(datum.value, '~g')"
        axis = alt.Axis(title=self.y_title, values=log_ticks(self.y_domain), labelExpr=label)
        return alt.Y(f"{field}:Q", scale=alt.Scale(type="log", domain=self.y_domain, nice=False), axis=axis)

    def color(self, legend: bool = False) -> Any:
        import altair as alt

        scale = alt.Scale(domain=[theme.title(f) for f in self.names])
        return alt.Color("name:N", scale=scale, legend=alt.Legend() if legend else alt.Undefined)

    def dots(self, points: list[Row]) -> Any:
        import altair as alt

        what, _, unit = self.x_title.removesuffix(")").partition(" (")
        shown = [
            {
                "name": theme.title(p["family"]),
                "at": numbers.scaled(p["x"], unit),
                "shown": numbers.measured(self.metric, p["y"]),
                "short": p["run"][:12],
            }
            for p in points
        ]
        named = [{**p, **text} for p, text in zip(points, shown, strict=True)]
        tips = [tip("name", "family"), tip("arch", "arch"), tip("params", "parameters"), tip("seed", "seed")]
        tips += [
            tip("at", what),
            tip("shown", self.y_title),
            tip("saw", "samples seen"),
            tip("short", "trial"),
        ]
        shape = alt.Shape("name:N", scale=alt.Scale(domain=[theme.title(f) for f in self.names]))
        dot = alt.Chart(alt.Data(values=named)).mark_point(filled=True, size=70, opacity=0.95, style="dot", clip=True)
        return dot.encode(x=self.x(), y=self.y(), color=self.color(legend=True), shape=shape, tooltip=tips)

    def trails(self, points: list[Row]) -> Any:
        import altair as alt

        named = [{**m, "name": theme.title(m["family"])} for m in series.means(points)]
        trail = alt.Chart(alt.Data(values=named)).mark_line(strokeWidth=1, opacity=0.4, aria=False, clip=True)
        return trail.encode(x=self.x(), y=self.y(), color=self.color(), detail="arch:N")


def tip(field: str, title: str) -> Any:
    import altair as alt

    return alt.Tooltip(f"{field}:N", title=title)
