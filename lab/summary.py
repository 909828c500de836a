"""What a single run's command prints."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lab.console import print_json
from lab.numbers import significant
from lab.reasons import most_frequent
from records.manifest import EngineIdentity, Manifest
from records.run import RunRecord


def print_summary(record: RunRecord, as_json: bool) -> None:
    summary = read_summary(record)
    if as_json:
        print_json({"run": str(record.folder), "world": record.manifest.world, **summary, **_beside(record, summary)})
        return
    from rich.console import Console

    from lab.summary_tables import replica_table, tenant_table, time_table

    console = Console(highlight=False, markup=False)
    title = f"{record.manifest.world}: {record.manifest.workload.name} under {system_of(record.manifest)}"
    console.print(title, soft_wrap=True)
    console.print(time_table(summary))
    if "tenants" in summary:
        console.print(tenant_table(summary["tenants"]))
    if "fleet" in summary:
        console.print(replica_table(per_replica(record, summary["fleet"])))
    for line in summary_lines(record, summary):
        console.print(line, soft_wrap=True)
    console.print(f"run record: {record.folder}", soft_wrap=True)


def read_summary(record: RunRecord) -> Mapping[str, Any]:
    """summary.json"""
    summary: dict[str, Any] = json.loads((record.folder / "summary.json").read_bytes())
    return summary


def system_of(manifest: Manifest) -> str:
    """Which engine or fleet served, in a line; settings are not told."""
    fleet = manifest.fleet
    if fleet is None:
        return _engine(manifest.engine)
    kinds = list(dict.fromkeys(_engine(replica.engine) for replica in fleet.replicas))
    more = f" and {len(kinds) - 1} more" if len(kinds) > 1 else ""
    router = f"{fleet.router}, then {fleet.decode_router}" if fleet.decode_router else fleet.router
    return f"{len(fleet.replicas)} x {kinds[0]}{more} behind {router}"


def _engine(engine: EngineIdentity) -> str:
    parts = [engine.policy, engine.reservation, engine.eviction, engine.admission]
    return "/".join([engine.preset, *(part for part in parts if part)])


def per_replica(record: RunRecord, fleet: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What became of the requests that each replica had last. fleet: of summary.json.

    paid_s: seconds it is paid for. output_tokens: that clients received. preemptions: of these requests, those on a
    replica before included.
    """
    groups = dict(iter(record.requests.groupby("replica")))
    nobody = record.requests.iloc[:0]
    return [
        {"replica": replica, "paid_s": paid_s, **_shares(groups.get(replica, nobody))}
        for replica, paid_s in enumerate(fleet["replica_s"])
    ]


def _shares(requests: pd.DataFrame) -> dict[str, int]:
    return {
        "requests": len(requests),
        "finished": int((requests["status"] == "finished").sum()),
        "output_tokens": int(requests["output_len"].sum()),
        "preemptions": int(requests["num_preemptions"].sum()),
    }


def summary_lines(record: RunRecord, summary: Mapping[str, Any]) -> Iterator[str]:
    """How the requests ended, service levels, money: a line each, where there is something to tell."""
    yield _ends(record, summary)
    for status, told in _reasons(record).items():
        alike = "all" if told["alike"] == told["count"] else f"{told['alike']} of them"
        yield f"{status}: {told['count']}, {alike} like this: {told['first']}"
    if summary["duration_s"]:
        requests, tokens = summary["requests_per_s"], summary["output_tokens_per_s"]
        yield (
            f"{significant(requests)} requests/s, {significant(tokens)} output tokens/s "
            f"over {significant(summary['duration_s'])} s"
        )
    if slo := summary.get("slo"):
        goodput = slo["goodput_requests_per_s"]
        per_s = "" if goodput is None else f"; goodput {significant(goodput)} requests/s"
        yield f"SLO: met by {slo['met']} of {slo['stated']} requests ({slo['attainment']:.1%}){per_s}"
    if fleet := summary.get("fleet"):
        hours, moved = sum(fleet["replica_s"]) / 3600, fleet["kv_tokens_moved"]
        handed_over = f"; KV of {moved:,} tokens handed over" if moved else ""
        yield f"fleet: {fleet['num_replicas']} replicas, {significant(hours)} replica-hours{handed_over}"
    if cost := summary.get("cost"):
        yield _cost(cost)


def _ends(record: RunRecord, summary: Mapping[str, Any]) -> str:
    counts = {status: count for status, count in summary["num_requests"].items() if status != "total" and count}
    line = ", ".join(f"{counts[status]} {status}" for status in sorted(counts, key=lambda status: -counts[status]))
    line += f"; {summary['num_steps']} steps"
    outside = record.manifest.conditions.get("outside_hull")
    if isinstance(outside, dict) and outside["steps"]:
        line += (
            f"; {outside['steps']} of them ({outside['time_share']:.1%} of step time) outside the batches the "
            f"profile was measured on: calibrate with settings that reach there"
        )
    return line


def _cost(cost: Mapping[str, Any]) -> str:
    per: dict[str, float | None] = {
        "million output tokens": cost["per_million_output_tokens"],
        "request": cost["per_request"],
        "request that met its SLO": cost["per_good_request"],
    }
    told = [f"{significant(value, 3)} per {what}" for what, value in per.items() if value is not None]
    return "; ".join([f"cost: {significant(cost['total'], 3)} in all", *told])


def _reasons(record: RunRecord) -> dict[str, dict[str, Any]]:
    """Of those that were rejected, and those never sent, where there are any."""
    found: dict[str, dict[str, Any]] = {}
    for status in ("rejected", "unsent"):
        reasons = record.requests.loc[record.requests["status"] == status, "reason"].dropna().tolist()
        if reasons:
            alike, first = most_frequent(reasons)
            found[status] = {"count": len(reasons), "alike": alike, "first": first}
    return found


def _beside(record: RunRecord, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What is told and not in summary.json."""
    replicas = {"replicas": per_replica(record, summary["fleet"])} if "fleet" in summary else {}
    return {"reasons": _reasons(record), **replicas}
