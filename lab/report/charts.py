"""The charts of a page, as Bokeh models: each with its name, and its title as a tag, which the page writes.

No text in them comes from a run: ids and names are for the page to escape.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lab.report.timeline import KV, LINES, Timeline
from lab.report.view import BANDS, PARTS, TIMES, RunView

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

BLUE, ORANGE, GREEN, PINK, RED, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#F0E442",
)
"""Okabe and Ito."""
RUN_STYLES = (
    (BLUE, "solid", "circle"),
    (RED, "dashed", "triangle"),
    (GREEN, "dotdash", "square"),
    (PINK, "dotted", "diamond"),
)
"""Colour, line, marker: each tells runs apart by itself."""
PART_COLOURS = (BLUE, ORANGE, GREEN, PINK)
PART_PATTERNS = (" ", "/", ".", "x")
KV_COLOURS = (BLUE, RED, ORANGE, SKY, "#999999")
KV_PATTERNS = (" ", "x", "/", ".", " ")
KV_NAMES = ("stored", "tail waste", "reserved, unused", "cached, idle", "free")
LEFT = 62
"""Pixels for what stands left of a timeline, so that all of them begin at one place."""
TOOLS = "xpan,xwheel_zoom,box_zoom,reset,save"


def parts_chart(views: Sequence[RunView]) -> "Figure":
    """TTFT by part: of all requests, and of bands of them by TTFT."""
    from bokeh.models import ColumnDataSource, FactorRange

    alone = len(views) == 1
    rows = [band if alone else (band, view.label) for band, *_ in BANDS for view in views]
    columns: dict[str, Any] = {
        part: [view.parts[band][i] for band, *_ in BANDS for view in views] for i, part in enumerate(PARTS)
    }
    chart = _chart(
        "ttft_parts",
        f"TTFT, mean of {len(BANDS)} groups of requests in order of TTFT [ms]",
        height=80 + 30 * len(rows),
        y_range=FactorRange(*reversed(rows)),
        tools="save",
        tooltips=[("", "@row"), *((part, f"@{part}{{0.0}} ms") for part in PARTS)],
    )
    source = ColumnDataSource({"row": rows, **columns})
    renderers = chart.hbar_stack(
        list(PARTS),
        y="row",
        height=0.75,
        source=source,
        fill_color=list(PART_COLOURS),
        hatch_pattern=list(PART_PATTERNS),
        hatch_color="white",
        hatch_alpha=0.8,
        line_color=None,
    )
    _legend_below(chart, list(zip(PARTS, renderers, strict=True)))
    chart.x_range.start = 0
    if not alone:
        chart.yaxis.group_label_orientation = "horizontal"
    return chart


def curves_charts(views: Sequence[RunView]) -> "Iterator[Figure]":
    """Of TTFT, TPOT and E2E: the share of finished requests at or below."""
    for time in TIMES:
        chart = _chart(f"curve_{time}", f"{time.upper()} [ms], share of requests at or below", height=260)
        lines = []
        for i, view in enumerate(views):
            colour, dash, _ = RUN_STYLES[i % len(RUN_STYLES)]
            values, shares = view.curves[time]
            drawn = chart.step(values, shares, mode="after", line_color=colour, line_dash=dash, line_width=2)
            lines.append((view.label, drawn))
        chart.y_range.start, chart.y_range.end = 0, 1.01
        _legend_below(chart, lines)
        yield chart


def scatter_chart(views: Sequence[RunView]) -> "Figure":
    """A mark a request: arrival against TTFT; a tap selects it. Its place in the page's data is its index."""
    from bokeh.models import ColumnDataSource

    chart = _chart(
        "requests_chart", "TTFT of each request [ms] against its arrival [s]; tap one", height=300, tools=f"tap,{TOOLS}"
    )
    drawn = []
    for i, view in enumerate(views):
        colour, _, marker = RUN_STYLES[i % len(RUN_STYLES)]
        ttft = [None if t is None else t * 1e3 for t in view.requests["ttft_s"]]
        source = ColumnDataSource({"arrival": view.requests["arrival_s"], "ttft": ttft}, name=f"requests_{i}")
        mark = chart.scatter(
            "arrival",
            "ttft",
            source=source,
            marker=marker,
            size=7,
            fill_color=colour,
            fill_alpha=0.35,
            line_color=colour,
            line_alpha=0.8,
            nonselection_fill_alpha=0.2,
            nonselection_line_alpha=0.5,
            selection_fill_alpha=1.0,
            selection_line_color="black",
        )
        drawn.append((view.label, mark))
    _legend_below(chart, drawn)
    return chart


def timeline_charts(view: RunView, line: Timeline, x_range: Any) -> "Iterator[Figure]":
    """Of one engine: the life of the selected request, queue, batch, KV; all over x_range."""
    name = f"{view.letter}_{line.replica}"
    who = view.label if len(view.timelines) == 1 else f"{view.label}, replica {line.replica}"
    yield _life(name, who, x_range)
    yield _queue(name, who, line, x_range)
    yield _stack(
        f"batch_{name}",
        f"{who}: tokens in a step",
        line,
        ("decode_tokens", "prefill_tokens"),
        ("decode", "prefill"),
        (BLUE, ORANGE),
        (" ", "/"),
        x_range,
    )
    yield _stack(f"kv_{name}", f"{who}: KV pool [tokens]", line, KV, KV_NAMES, KV_COLOURS, KV_PATTERNS, x_range)


def _life(name: str, who: str, x_range: Any) -> "Figure":
    from bokeh.models import ColumnDataSource

    chart = _chart(f"life_{name}", f"{who}: the selected request", height=110, x_range=x_range, y_range=(0, 1))
    source = ColumnDataSource({"left": [], "right": [], "colour": [], "pattern": []}, name=f"life_{name}")
    chart.quad(
        left="left",
        right="right",
        bottom=0.2,
        top=0.8,
        source=source,
        fill_color="colour",
        hatch_pattern="pattern",
        hatch_color="white",
        line_color=None,
    )
    chart.yaxis.visible = False
    chart.min_border_left = LEFT
    return chart


def _queue(name: str, who: str, line: Timeline, x_range: Any) -> "Figure":
    chart = _chart(f"queue_{name}", f"{who}: requests waiting and running", height=190, x_range=x_range)
    drawn = []
    for column, told, colour, dash in zip(LINES, ("waiting", "running"), (RED, BLUE), ("dashed", "solid"), strict=True):
        renderers = []
        if not line.is_exact:
            left, right = list(line.at[:-1]), list(line.at[1:])
            low, high = list(line.low[column][:-1]), list(line.high[column][:-1])
            renderers.append(
                chart.quad(
                    left=left, right=right, bottom=low, top=high, fill_color=colour, fill_alpha=0.2, line_color=None
                )
            )
        renderers.append(
            chart.step(line.at, line.mean[column], mode="after", line_color=colour, line_dash=dash, line_width=1.5)
        )
        drawn.append((told, renderers))
    chart.y_range.start = 0
    chart.min_border_left = LEFT
    _legend_below(chart, drawn)
    return chart


def _stack(
    name: str,
    title: str,
    line: Timeline,
    columns: Sequence[str],
    told: Sequence[str],
    colours: Sequence[str],
    patterns: Sequence[str],
    x_range: Any,
) -> "Figure":
    """Areas on top of each other, as steps."""
    chart = _chart(name, title, height=190, x_range=x_range)
    x = [at for at in line.at for _ in range(2)][1:-1]
    below = [0.0] * len(x)
    drawn = []
    for column, name_, colour, pattern in zip(columns, told, colours, patterns, strict=True):
        values = [value for value in line.mean[column][:-1] for _ in range(2)]
        above = [a + b for a, b in zip(below, values, strict=True)]
        area = chart.varea(
            x=x,
            y1=below,
            y2=above,
            fill_color=colour,
            fill_alpha=0.75,
            hatch_pattern=pattern,
            hatch_color="white",
            hatch_alpha=0.7,
        )
        drawn.append((name_, [area]))
        below = above
    chart.y_range.start = 0
    chart.min_border_left = LEFT
    _legend_below(chart, drawn)
    return chart


def _chart(name: str, title: str, height: int, tools: str = TOOLS, **more: Any) -> "Figure":
    from bokeh.plotting import figure

    chart = figure(
        name=name,
        tags=[title],
        height=height,
        sizing_mode="stretch_width",
        tools=tools,
        toolbar_location="right",
        min_border=6,
        **more,
    )
    chart.toolbar.logo = None
    chart.toolbar.autohide = True
    return chart


def _legend_below(chart: "Figure", items: Sequence[tuple[str, Any]]) -> None:
    from bokeh.models import Legend, LegendItem

    drawn = [LegendItem(label=told, renderers=r if isinstance(r, list) else [r]) for told, r in items]
    legend = Legend(items=drawn, ncols=min(3, len(drawn)), click_policy="hide", spacing=12, padding=2, margin=0)
    legend.border_line_color = None
    legend.background_fill_alpha = 0.0
    legend.label_text_font_size = "12px"
    chart.add_layout(legend, "below")
