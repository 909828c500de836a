"""Runs become one HTML file: charts, their library, and the numbers, with nothing to fetch.

Charts know no text of a run. What a run is called, ids and tenants come through jinja2, which escapes them, or as JSON
in which < is escaped. Same records, same bytes: the ids that Bokeh makes at random are numbered here.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any

from lab.report.figures import Row, rows_of
from lab.report.view import MOST_REQUESTS, PARTS, RunView
from serving.errors import BlockedError

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def page(views: Sequence[RunView], command: str) -> str:
    """command: that makes this page. Errors: BlockedError without Bokeh."""
    script, charts = _charts(views)
    return _template().render(
        views=views,
        charts=charts,
        script=script,
        library=_library(),
        style=_own("page.css"),
        behaviour=_own("page.js"),
        data=_json(_data(views)),
        rows=rows_of(views),
        columns=Row._fields,
        tenants=[(view, view.summary["tenants"]) for view in views if "tenants" in view.summary],
        most=MOST_REQUESTS,
        command=command,
    )


def _charts(views: Sequence[RunView]) -> "tuple[str, Mapping[str, Mapping[str, str]]]":
    """One script; and by the name of each chart its title, and the place that the script fills."""
    try:
        from bokeh.embed import components
        from bokeh.models import Range1d
        from bokeh.util import serialization
    except ImportError as error:
        raise BlockedError("the page needs Bokeh for its charts: pip install 'servetwin[report]'") from error
    from lab.report.charts import curves_charts, parts_chart, scatter_chart, timeline_charts

    serialization._simple_id = 999  # ids of models count from the same number for every page
    end = max([line.at[-1] for view in views for line in view.timelines], default=1.0)
    x_range = Range1d(0, end * 1.02, bounds=(0, end * 1.05))
    made = [parts_chart(views), *curves_charts(views), scatter_chart(views)]
    for view in views:
        for line in view.timelines:
            made += timeline_charts(view, line, x_range)
    script, places = components({str(chart.name): chart for chart in made}, wrap_script=False)
    numbers = (f"chart-{n:04}" for n in count())
    known = cache(lambda text: next(numbers))
    numbered = _UUID.sub(lambda match: known(match.group()), json.dumps([script, places], sort_keys=True))
    script, places = json.loads(numbered)
    titles = {str(chart.name): str(chart.tags[0]) for chart in made}
    found = {name: {"title": titles[name], "place": place} for name, place in places.items()}
    return script.replace("</", "<\\/"), found


def _data(views: Sequence[RunView]) -> dict[str, Any]:
    return {
        "parts": list(PARTS),
        "runs": [
            {
                "letter": view.letter,
                "label": view.label,
                "replicas": [line.replica for line in view.timelines],
                "requests": view.requests,
            }
            for view in views
        ],
    }


def _json(data: object) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _library() -> str:
    from bokeh.resources import Resources

    scripts = Resources(mode="inline", components=["bokeh"]).js_raw
    return "\n".join(script.replace("</script", "<\\/script") for script in scripts)


def _own(name: str) -> str:
    return files("lab.report").joinpath(name).read_text(encoding="utf-8")


def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise BlockedError("the page needs jinja2: pip install 'servetwin[report]'") from error
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        _own("page.html.jinja")
    )
