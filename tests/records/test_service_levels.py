"""requests.parquet says of each request whether it met its service level as serving/metrics/goodput.py defines it."""

from hypothesis import given
from hypothesis import strategies as st

from records.request_rows import RequestHead, RequestRows
from serving.metrics.goodput import Slo, met
from serving.schedule.engine import build_scheduler
from sim.client_clock import Given
from sim.scripted import ScriptedCost
from sim.simulate import stream
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, requests_of

LIMIT = st.none() | st.integers(1, 60)
REQUEST = st.tuples(st.integers(0, 50), st.integers(1, 4), st.integers(1, 5), LIMIT, LIMIT)


@given(st.lists(REQUEST, min_size=1, max_size=8))
def test_the_column_is_the_definition(drawn) -> None:
    load = Workload(
        "drawn",
        tuple(
            WorkloadRequest(f"r{i}", at, prompt, output, max_tokens=output, ttft_slo=ttft, tpot_slo=tpot)
            for i, (at, prompt, output, ttft, tpot) in enumerate(drawn)
        ),
    )
    rows = RequestRows(RequestHead(r.request_id, r.prompt_len, "", "", r.ttft_slo, r.tpot_slo) for r in load.requests)
    cost = ScriptedCost(execute=lambda step: 5 + 2 * step.num_tokens)
    scheduler = build_scheduler("vllm", settings={"max_num_seqs": 2})
    sender = Given(requests_of(load))
    stream(sender, Truth(load), scheduler, cost, rows.add, sent=lambda r: rows.sent(r.request_id, r.arrival_time))
    for request, row in zip(load.requests, rows.table({}, [], {}).to_pylist(), strict=True):
        slo = Slo(request.ttft_slo, request.tpot_slo)
        ttft, first, last = (round(row[name] * 1e9) for name in ("ttft_s", "first_token_s", "last_token_s"))
        tpot = (last - first) / (request.output_len - 1) if request.output_len > 1 else None
        assert row["slo_met"] == (None if slo == Slo() else met(slo, ttft, tpot))
