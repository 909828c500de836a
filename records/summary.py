"""summary.json: the figures of a run that fit on a screen."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from records.schema import STATUSES
from serving.metrics.percentiles import summarize

METRICS = ("ttft", "queue", "schedule", "prefill", "return", "decode", "stream", "tpot", "e2e")


def summarize_run(requests: pa.Table, num_steps: int) -> Mapping[str, Any]:
    """requests: as in requests.parquet. Times in seconds; metrics are over finished requests, None without any.

    duration_s: first arrival to last token that a client received; throughput is per second of it.
    """
    frame: pd.DataFrame = requests.to_pandas()
    finished = frame[frame["status"] == "finished"]
    received = frame[frame["output_len"] > 0]
    tokens = int(frame["output_len"].sum())
    duration = float(received["last_token_s"].max() - frame["arrival_s"].min()) if len(received) else None
    counts = frame["status"].value_counts()
    return {
        "unit": "seconds",
        "num_requests": {"total": len(frame), **{status: int(counts.get(status, 0)) for status in STATUSES}},
        "num_steps": num_steps,
        "num_output_tokens": tokens,
        "duration_s": duration,
        "requests_per_s": len(finished) / duration if duration else None,
        "output_tokens_per_s": tokens / duration if duration else None,
        **{metric: _metric(finished[f"{metric}_s"]) for metric in METRICS},
    }


def _metric(values: "pd.Series[float]") -> dict[str, float] | None:
    summary = summarize(values.dropna().tolist())
    return None if summary is None else asdict(summary)
