"""A measured run as a client saw it."""

from dataclasses import dataclass

import pandas as pd

from workloads.workload import Workload


@dataclass(frozen=True)
class Observed:
    """latencies: by request id, ttft_s, tpot_s, e2e_s. pieces: request_id and at_s of each piece of an answer that
    arrived, from its first token on; None where only whole requests were timed. max_in_flight: the client's cap.
    """

    name: str
    workload: Workload
    latencies: pd.DataFrame
    pieces: pd.DataFrame | None = None
    max_in_flight: int | None = None

    def first(self, count: int) -> "Observed":
        """Its first requests alone: what came later changes nothing for them, but near the end."""
        kept = self.workload.requests[:count]
        ids = [r.request_id for r in kept]
        pieces = None if self.pieces is None else self.pieces[self.pieces["request_id"].isin(ids)]
        return Observed(self.name, Workload(self.name, kept), self.latencies.loc[ids], pieces, self.max_in_flight)
