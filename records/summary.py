"""summary.json: the figures of a run that fit on a screen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from records.schema import STATUSES
from serving.metrics.money import Rental, cost_of
from serving.metrics.percentiles import summarize

METRICS = ("ttft", "queue", "schedule", "prefill", "return", "decode", "stream", "tpot", "e2e")


def summarize_run(
    requests: pa.Table,
    num_steps: int,
    fleet: Mapping[str, Any] | None = None,
    rentals: Sequence[Rental] | None = None,
) -> Mapping[str, Any]:
    """requests: as in requests.parquet. Times in seconds; metrics are over finished requests, None without any.

    duration_s: first arrival to last token that a client received; throughput is per second of it. slo: of requests
    that have one, how many met it, and how many of those a second (goodput). tenants: where there are any.
    fleet: what is told of several replicas. cost: in the currency of the rentals, per unit of what was served.
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
        **_service_level(frame, duration),
        **_tenants(frame),
        **({} if fleet is None else {"fleet": fleet}),
        **({} if rentals is None else {"cost": _cost(finished, rentals)}),
    }


def _cost(finished: pd.DataFrame, rentals: Sequence[Rental]) -> dict[str, Any]:
    cost = cost_of(
        rentals,
        num_prompt=int(finished["prompt_len"].sum()),
        num_output=int(finished["output_len"].sum()),
        num_requests=len(finished),
        num_good=int(finished["slo_met"].eq(True).sum()),
    )
    return asdict(cost)


def _service_level(frame: pd.DataFrame, duration: float | None) -> dict[str, Any]:
    stated = frame[frame["slo_met"].notna()]
    if not len(stated):
        return {}
    met = int((stated["slo_met"].astype(bool) & (stated["status"] == "finished")).sum())
    share = {"stated": len(stated), "met": met, "attainment": met / len(stated)}
    return {"slo": {**share, "goodput_requests_per_s": met / duration if duration else None}}


def _tenants(frame: pd.DataFrame) -> dict[str, Any]:
    if not frame["tenant"].any():
        return {}
    told = {}
    for tenant, requests in frame.groupby("tenant", sort=True):
        finished = requests[requests["status"] == "finished"]
        duration = float(requests["last_token_s"].max() - requests["arrival_s"].min()) if len(finished) else None
        told[str(tenant)] = {
            "num_requests": len(requests),
            "num_finished": len(finished),
            "num_output_tokens": int(requests["output_len"].sum()),
            **{metric: _metric(finished[f"{metric}_s"]) for metric in ("ttft", "tpot", "e2e")},
            **_service_level(requests, duration),
        }
    return {"tenants": told}


def _metric(values: "pd.Series[float]") -> dict[str, float] | None:
    summary = summarize(values.dropna().tolist())
    return None if summary is None else asdict(summary)
