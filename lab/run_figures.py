"""Which figures of a run are estimated over replications, what they are measured in, and which way is better."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class RunFigure(NamedTuple):
    """A number of summary.json.

    name: the keys that lead to it, joined by points. title, statistic, unit: as a person reads it, "" for none.
    scale: how many of that unit are one in summary.json. less_is_better: as for times and cost.
    """

    name: str
    title: str
    less_is_better: bool
    statistic: str = ""
    unit: str = ""
    scale: float = 1.0

    @property
    def label(self) -> str:
        return f"{self.title} {self.statistic}".rstrip()

    def of(self, summary: Mapping[str, Any]) -> float | None:
        """None where the run has not got it."""
        value: Any = summary
        for key in self.name.split("."):
            value = None if value is None else value.get(key)
        return None if value is None else float(value)


TIMES = ("ttft", "queue", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p99")

_TIMES = [RunFigure(f"{time}.{s}", time, True, s, "ms", 1e3) for time in TIMES for s in STATISTICS]
_OTHERS = [
    RunFigure("requests_per_s", "requests/s", False),
    RunFigure("output_tokens_per_s", "output tokens/s", False),
    RunFigure("num_requests.finished", "finished", False),
    RunFigure("slo.attainment", "SLO met", False, unit="%", scale=100),
    RunFigure("slo.goodput_requests_per_s", "goodput/s", False),
    RunFigure("cost.total", "cost", True),
    RunFigure("cost.per_million_output_tokens", "cost/M output tokens", True),
    RunFigure("cost.per_request", "cost/request", True),
    RunFigure("cost.per_good_request", "cost/request in SLO", True),
]
FIGURES: Mapping[str, RunFigure] = {figure.name: figure for figure in (*_TIMES, *_OTHERS)}
"""By name, in the order in which they are told."""
