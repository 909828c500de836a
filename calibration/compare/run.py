"""One run, seen through the requests that it shares with others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from records.run import RunRecord

Floats = npt.NDArray[np.float64]

METRICS: Mapping[str, str] = {
    "ttft": "time to first token",
    "queue": "TTFT part: waiting",
    "schedule": "TTFT part: being scheduled and prepared",
    "prefill": "TTFT part: prompt executing",
    "return": "TTFT part: first token on its way to the client",
    "tpot": "time per output token after the first, of each request",
    "itl": "inter-token latency: every gap between two tokens of a request",
    "e2e": "arrival to last token",
}
STATISTICS = ("mean", "p50", "p90", "p99")
PARTS = ("queue", "schedule", "prefill", "return")
HEADLINE = ("ttft", "tpot", "e2e")
NORMALIZED = ("normalized_e2e", "p95")
"""E2E per output token; the metric of Vidur (Agrawal et al., MLSys 2024, section 7.2)."""


@dataclass(frozen=True)
class Run:
    """request_ids: of the requests that count, sorted; every one finished in this run."""

    record: RunRecord
    request_ids: pd.Index

    @property
    def is_measured(self) -> bool:
        return self.record.manifest.world == "real"

    @property
    def has_noise(self) -> bool:
        """Whether another run of it would come out otherwise."""
        return self.is_measured or self.record.manifest.seed is not None

    @property
    def repeat(self) -> int | None:
        """Which repeat it is: a simulation's noise seed; of hardware, the number at the end of the folder's name."""
        if not self.is_measured:
            return self.record.manifest.seed
        number = re.search(r"\d+$", self.record.folder.name)
        return int(number[0]) if number else None

    @cached_property
    def requests(self) -> pd.DataFrame:
        """Their rows of requests.parquet, in the order of their ids."""
        return self.record.requests.set_index("request_id").loc[self.request_ids]

    def values(self, metric: str) -> Floats:
        """Seconds: of each request that has one, of ITL of each gap."""
        if metric == "itl":
            return self._gaps
        if metric == "normalized_e2e":
            values = self.requests["e2e_s"] / self.requests["output_len"].where(self.requests["output_len"] > 0)
        else:
            values = self.requests[f"{metric}_s"]
        return values.dropna().to_numpy(dtype=np.float64)

    def statistic(self, metric: str, statistic: str) -> float | None:
        """Seconds. statistic: "mean", or a percentile such as "p99". None where no request has the metric."""
        values = self.values(metric)
        if not len(values):
            return None
        return float(np.sort(values).mean() if statistic == "mean" else np.percentile(values, int(statistic[1:])))

    @cached_property
    def _gaps(self) -> Floats:
        """Between the deliveries of two tokens that follow each other; 0 between tokens of one step."""
        table = pq.read_table(
            self.record.folder / "steps.parquet", columns=["delivered_s", "batch_request", "batch_accepted"]
        )
        lists: Any = table["batch_request"].combine_chunks()
        sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        request = lists.flatten().to_numpy()
        accepted = table["batch_accepted"].combine_chunks().flatten().to_numpy()
        delivered = np.repeat(table["delivered_s"].to_numpy(), sizes)
        counts = self.record.requests["request_id"].isin(self.request_ids).to_numpy()[request] & (accepted > 0)
        request, accepted, delivered = request[counts], accepted[counts], delivered[counts]
        order = np.lexsort((delivered, request))
        request, delivered = request[order], delivered[order]
        apart = np.diff(delivered)[np.diff(request) == 0]
        return np.concatenate([apart, np.zeros(int((accepted - 1).sum()))])


def in_pairs(a: Sequence[Run], b: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Runs of the same repeat, where both sides have the same repeats, each once, and more than one; else none.

    Repeats of a round met the machine in the same state, and a simulation may have been put on the speed of its pair.
    """
    of_a, of_b = ({run.repeat: run for run in runs} for runs in (a, b))
    if None in of_a or not len(a) == len(b) == len(of_a) > 1 or of_a.keys() != of_b.keys():
        return []
    return [(run, of_b[repeat]) for repeat, run in of_a.items()]
