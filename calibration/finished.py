"""What became of each request of a simulation, kept while it runs; a run record's requests without the record."""

from serving.metrics.timeline import Timekeeper, Timeline
from serving.request import Request
from serving.schedule.contract import StepReceipt

METRICS = ("ttft", "queue", "schedule", "prefill", "return", "tpot", "e2e")
"""As requests.parquet has them."""


class Finished:
    """sent() and tell() go into sim.simulate.stream. timelines: by request id, in the order in which they ended."""

    def __init__(self) -> None:
        self.timelines: dict[str, Timeline] = {}
        self._keeper = Timekeeper()
        self._arrivals: dict[str, int] = {}

    def sent(self, request: Request) -> None:
        self._arrivals[request.request_id] = request.arrival_time

    def tell(self, receipt: StepReceipt) -> None:
        self._keeper.add(receipt)
        for request_id in receipt.outcome.finished:
            timeline = self._keeper.timeline(request_id, self._arrivals[request_id])
            assert timeline is not None
            self.timelines[request_id] = timeline
        for request_id in receipt.plan.released:
            self._keeper.forget_finished(request_id)


def seconds_of(t: Timeline) -> tuple[float, ...]:
    """METRICS of one request; TPOT of a single token is nan."""
    whole = (t.ttft, t.queue, t.schedule, t.prefill, t.return_)
    return (*(ns / 1e9 for ns in whole), float("nan") if t.tpot is None else t.tpot / 1e9, t.e2e / 1e9)
