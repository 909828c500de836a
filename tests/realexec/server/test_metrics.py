"""/metrics counts what happened, under vLLM's names."""

from prometheus_client.parser import text_string_to_metric_families

from tests.realexec.server.served import Served, served
from tests.realexec.server.sockets import wait_for


def scrape(server: Served) -> dict[str, float]:
    with server.client() as client:
        response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + sample.labels.get("finished_reason", ""): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if "le" not in sample.labels
    }


def test_counts_are_those_of_the_answers() -> None:
    prompt = "a prompt of more than one block of sixteen tokens"
    with served(step_ns=500_000) as server:
        answers = [server.post(prompt=prompt, max_tokens=n).json()["usage"] for n in (1, 5, 9)]
        text = server.post(prompt="x", max_tokens=20).json()["choices"][0]["text"]
        stopped = server.post(prompt="x", max_tokens=20, stop=text[3:6]).json()["usage"]
        assert wait_for(lambda: server.num_held == 0), "the engine hears of a stop string with its next step"
        found = scrape(server)
    usages = [*answers, stopped, {"prompt_tokens": 1, "completion_tokens": 20}]
    cached = sum(u["prompt_tokens_details"]["cached_tokens"] for u in [*answers, stopped])
    assert cached > 0
    assert found["vllm:prompt_tokens_total"] == sum(u["prompt_tokens"] for u in usages)
    assert found["vllm:prompt_tokens_cached_total"] == found["vllm:prefix_cache_hits_total"] == cached
    assert found["vllm:generation_tokens_total"] >= sum(u["completion_tokens"] for u in usages)
    assert found["vllm:request_success_totallength"] == 4
    assert found["vllm:request_success_totalstop"] == 1
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds"):
        assert found[f"vllm:{name}_count"] == 5
    assert found["vllm:inter_token_latency_seconds_count"] == sum(u["completion_tokens"] - 1 for u in usages)
    assert found["vllm:request_generation_tokens_sum"] == sum(u["completion_tokens"] for u in usages)
    assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0
    assert found["vllm:kv_cache_usage_perc"] == 0
    e2e, first = found["vllm:e2e_request_latency_seconds_sum"], found["vllm:time_to_first_token_seconds_sum"]
    parts = ("request_queue_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds")
    assert abs(sum(found[f"vllm:{part}_sum"] for part in parts) - e2e) < 1e-6
    assert 0 < first < e2e
