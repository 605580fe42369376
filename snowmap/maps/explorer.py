"""Maps to explore in a browser, without a network: a slider over windows, linked maps, and the series of a pixel."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportCallIssue=false
# Bokeh's properties take more than their types say

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib.resources import files
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from bokeh import models
from bokeh.embed import components
from bokeh.layouts import group_tools
from bokeh.plotting import figure
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_hex

from snowmap.data.cube import window_names
from snowmap.data.grid import stretch
from snowmap.maps.pixels import MISSING, Layer, Pixels, as_pixels

INTERVALS_ALPHA = 0.18
OUTSIDE = "#d9d9d9"
MAP_WIDTH, MAP_FRINGE = 300, (40, 108)
"""px of a map on the page for which its proportions are right, and what axes, title and colour bar take of them."""

Values = np.ndarray
Limits = Callable[[Values], tuple[float, float]]


def from_zero(values: Values) -> tuple[float, float]:
    """From 0 to the 99.5th percentile."""
    return 0.0, max(float(np.percentile(values, 99.5)), 1e-3)


def about_zero(values: Values) -> tuple[float, float]:
    """As far below 0 as above it."""
    most = from_zero(np.abs(values))[1]
    return -most, most


def range_of(values: Values) -> tuple[float, float]:
    """All but a half per cent at both ends."""
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6 + 1e-6 * abs(low)))


class Colours(NamedTuple):
    """How a layer is drawn as a map.

    Attributes:
        name: Of matplotlib's colour map.
        limits: The ends of the scale, of the values of all windows.
        alike: Layers whose values share the scale; by default the layer's own.
    """

    name: str
    limits: Limits = from_zero
    alike: Sequence[str] = ()


class Chart(NamedTuple):
    """Series of a pixel.

    Attributes:
        title: Above it, with the unit.
        lines: Colours of the layers, all of one unit, by name.
        intervals: Pairs of layers between which the chart is filled.
    """

    title: str
    lines: Mapping[str, str]
    intervals: Sequence[tuple[str, str]] = ()


class Explorer(NamedTuple):
    """Bokeh's models, all of which have to go to one page, and of how many pixels on a side one was made."""

    controls: Any
    maps: list[Any]
    where: Any
    charts: list[Any]
    block: int


def explorer(
    layers: Mapping[str, Layer], colours: Mapping[str, Colours], charts: Sequence[Chart], synthetic: bool
) -> Explorer:
    """Maps of some layers, and series of a pixel of all that the charts name.

    Args:
        layers: On one grid and of the same windows, by the words for them.
        colours: Of the layers that are drawn as maps.
        charts: What is drawn of a pixel.
        synthetic: Whether every title says so.
    """
    first, pixels = next(iter(layers.values())).values, as_pixels(layers)
    state = _state(pixels, [*colours], first, " · SYNTHETIC" if synthetic else "")
    draw = models.CustomJS(args=state, code=files("snowmap.maps").joinpath("explorer.js").read_text("utf-8"))
    state["slider"].js_on_change("value", draw)
    ranges = models.DataRange1d(), models.DataRange1d()
    panels = []
    for name, chosen in colours.items():
        alike = [pixels.maps[other] for other in chosen.alike or [name]]
        mapper = _mapper(chosen, np.concatenate([values[np.isfinite(values)] for values in alike]))
        panels.append(_panel(name, layers, state, mapper, ranges, stretch(first)))
        panels[-1].js_on_event("tap", draw)
    tools = group_tools([tool for panel in panels for tool in panel.tools])
    controls = models.GridPlot(
        children=[(state["slider"], 0, 0), (state["dates"], 1, 0)], sizing_mode="stretch_width",
        toolbar=models.Toolbar(tools=tools, active_drag=None, logo=None),  # no drag: a finger scrolls the page
        toolbar_location="below",
    )  # fmt: skip
    return Explorer(controls, panels, state["where"], _charts(charts, layers, state), pixels.block)


def embedded(explorers: Mapping[str, Explorer]) -> tuple[Markup, dict[str, Markup]]:
    """What a page needs in its head, BokehJS included, and the element of each explorer."""
    loader = PackageLoader("snowmap.maps", ".")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "explorer.html.jinja"
    )
    roots = {
        f"{key}/{position}": model
        for key, (controls, maps, where, charts, _) in explorers.items()
        for position, model in enumerate([controls, where, *maps, *charts])
    }
    script, elements = components(roots)
    bodies = {}
    for key, each in explorers.items():
        last = 2 + len(each.maps)
        rendered = [Markup(elements[f"{key}/{position}"]) for position in range(last + len(each.charts))]
        parts = {"controls": rendered[0], "where": rendered[1], "maps": rendered[2:last], "charts": rendered[last:]}
        bodies[key] = Markup(template.render(**parts, block=each.block))
    library = Resources(mode="inline", components=["bokeh", "bokeh-widgets"], minified=True).render()
    return Markup(library + script), bodies


def _state(pixels: Pixels, mapped: list[str], first: xr.DataArray, mark: str) -> dict[str, Any]:
    """What explorer.js works with, as it is at the beginning: the first window, and a typical pixel."""
    columns, ends = next(iter(pixels.maps.values())).shape[2], first["end"].values
    place = pixels.typical()
    row, column = divmod(int(pixels.inside[place]) if len(pixels.inside) else 0, columns)
    x, y = pixels.middle(row, column)
    codes = {name: pixels.codes(name) for name in pixels.maps}
    names = [name.replace("_", " ") for name in window_names(first.to_dataset(name="values"))]
    texts = [f"<b>{name}</b> (window {each} of {len(names)}){mark}" for each, name in enumerate(names, start=1)]
    digits = 4 if first.rio.crs.is_geographic else 0
    slider = {"start": 0, "end": max(len(names) - 1, 1), "value": 0, "step": 1, "visible": len(names) > 1}
    series = {"end": ends} | {name: values[:, row, column] for name, values in pixels.maps.items()}
    return {
        "kept": models.ColumnDataSource({name: coded for name, (coded, _, _) in codes.items()}),
        "names": [*codes],
        "offset": [offset for _, offset, _ in codes.values()],
        "step": [step for _, _, step in codes.values()],
        "missing": MISSING,
        "inside": pixels.inside,
        "columns": columns,
        "corner": pixels.corner,
        "size": pixels.size,
        "digits": digits,
        "place": models.ColumnDataSource({"x": [x], "y": [y], "pixel": [place]}),
        "mapped": mapped,
        "shown": models.ColumnDataSource({name: [pixels.maps[name][0]] for name in mapped}),
        "series": models.ColumnDataSource(series),
        "texts": texts,
        "mark": mark,
        "now": models.Span(location=ends[0], dimension="height", line_color="#5b6875", line_dash="dotted"),
        "slider": models.Slider(title="Window", show_value=False, sizing_mode="stretch_width", **slider),
        "dates": models.Div(text=texts[0]),
        "where": models.Div(text=f"Series of the pixel at {x:.{digits}f}, {y:.{digits}f}{mark}"),
    }


def _mapper(colours: Colours, values: Values) -> models.LinearColorMapper:
    low, high = colours.limits(values) if values.size else (0.0, 1.0)
    palette = [to_hex(colour) for colour in mpl.colormaps[colours.name](np.linspace(0, 1, 256))]
    return models.LinearColorMapper(palette, low=low, high=high, nan_color="rgba(0, 0, 0, 0)")


def _panel(
    name: str,
    layers: Mapping[str, Layer],
    state: Mapping[str, Any],
    mapper: models.LinearColorMapper,
    ranges: tuple[models.DataRange1d, models.DataRange1d],
    aspect: float,
) -> figure:
    """The map of one layer."""
    rows, columns = state["shown"].data[name][0].shape
    height = (
        rows * state["size"][1] / (columns * state["size"][0]) * aspect * (MAP_WIDTH - MAP_FRINGE[0]) + MAP_FRINGE[1]
    )
    drawn = figure(
        title=name + state["mark"], name=name, x_range=ranges[0], y_range=ranges[1], match_aspect=True,
        aspect_scale=1 / aspect, sizing_mode="stretch_width", aspect_ratio=MAP_WIDTH / height, toolbar_location=None,
        tools=[models.PanTool(), models.WheelZoomTool(), models.BoxZoomTool(match_aspect=True), models.ResetTool()],
        active_drag=None, min_border=2, background_fill_color=OUTSIDE,
    )  # fmt: skip
    (x, y), (dx, dy) = state["corner"], state["size"]
    extent = {"x": x, "y": y, "dw": columns * dx, "dh": rows * dy}
    image = drawn.image(name, source=state["shown"], color_mapper=mapper, **extent)
    drawn.scatter("x", "y", source=state["place"], size=9, fill_alpha=0, line_color="#d55e00", line_width=2)
    tooltips = [(each, f"@{{{each}}}{{custom}} {layers[each].unit}") for each in state["mapped"]]
    places = f"$x{{0.{'0' * state['digits']}}}, $y{{0.{'0' * state['digits']}}}"
    drawn.add_tools(_hover([image], [*tooltips, ("x, y", places)], state["mapped"]))
    bar = models.ColorBar(color_mapper=mapper, height=8, padding=2, title=layers[name].unit, **_small("title_text"))
    drawn.add_layout(bar, "below")
    drawn.xaxis.ticker.desired_num_ticks = drawn.yaxis.ticker.desired_num_ticks = 4
    for axis in drawn.axis:
        axis.formatter = models.BasicTickFormatter(use_scientific=False)
        axis.update(major_label_text_font_size="10px", minor_tick_line_color=None)
    drawn.grid.visible = False
    drawn.title.text_font_size = "12px"
    return drawn


def _charts(charts: Sequence[Chart], layers: Mapping[str, Layer], state: Mapping[str, Any]) -> list[figure]:
    """The series of the chosen pixel, with one axis of time."""
    time, drawn = models.DataRange1d(default_span=timedelta(days=60)), []
    for title, lines, intervals in charts:
        chart = figure(
            title=title + state["mark"], name=title, x_axis_type="datetime", x_range=time, height=280 + 10 * len(lines),
            sizing_mode="stretch_width", toolbar_location=None, tools=[], min_border=2,
        )  # fmt: skip
        source = state["series"]
        for low, high in intervals:
            chart.varea("end", low, high, source=source, fill_color="#0072b2", fill_alpha=INTERVALS_ALPHA)
        items = []
        for name, colour in reversed([*lines.items()]):  # the first are drawn last, on top
            style = {"color": colour, "source": source}
            line = chart.line("end", name, line_width=2, **style)
            items.append((name, [line, chart.scatter("end", name, size=5, **style)]))
        shown = [*lines, *(end for pair in intervals for end in pair)]
        values = [(name, f"@{{{name}}}{{custom}} {layers[name].unit}") for name in shown]
        hover = _hover([items[-1][1][1]], [("window to", "@end{%F}"), *values], shown)
        chart.add_tools(hover.clone(mode="vline", formatters={**hover.formatters, "@end": "datetime"}))
        if len(items) > 1:
            legend = models.Legend(
                items=items[::-1], location="top_left", click_policy="hide", ncols=2, border_line_alpha=0
            )
            legend.update(label_text_font_size="11px", glyph_width=16, spacing=6, margin=2, padding=0)
            chart.add_layout(legend, "below")
        chart.add_layout(state["now"])
        chart.title.text_font_size = "12px"
        drawn.append(chart)
    return drawn


def _hover(renderers: list[Any], tooltips: list[tuple[str, str]], names: Sequence[str]) -> models.HoverTool:
    """Values with four digits; a dash where there is none."""
    code = "return isNaN(value) ? '–' : String(Number(value.toPrecision(4)))"
    formatters = {f"@{{{name}}}": models.CustomJSHover(code=code) for name in names}
    return models.HoverTool(renderers=renderers, tooltips=tooltips, formatters=formatters, visible=False)


def _small(part: str) -> dict[str, str]:
    return {f"{part}_font_size": "11px", "major_label_text_font_size": "10px"}
