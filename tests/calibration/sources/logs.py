"""Logs as vLLM would write them of a run that the simulated engine made, at a cost that is known."""

import json
from collections.abc import Iterator
from pathlib import Path

from records.profile_cost import ProfileCost
from serving.cost import StepFeatures, features
from serving.schedule.contract import StepReceipt
from serving.schedule.engine import build_scheduler
from sim.simulate import simulate
from tests.records.test_profile import PROFILE, terms
from workloads.synthesize import synthesize
from workloads.truth import Truth
from workloads.workload import materialize

KNOWN = PROFILE.model_copy(
    update={
        "execute": terms(
            ("one", 0, None, 6.0),
            ("num_tokens", 0, None, 0.03),
            ("num_seqs", 0, None, 0.02),
            ("prefill_pairs", 0, None, 1e-5),
            ("decode_context", 0, None, 4e-4),
        ),
        "schedule": terms(("one", 0, None, 0.3), ("num_seqs", 0, None, 0.01)),
        "complete": terms(("one", 0, None, 0.2), ("num_seqs", 0, None, 0.02)),
    }
)
SETTINGS = {"max_num_seqs": 32, "max_num_batched_tokens": 512, "max_model_len": 4096}
POOL = 4096


def run(in_flight_two: bool) -> list[StepReceipt]:
    """in_flight_two: async scheduling."""
    load = synthesize(name="load", rate=30.0, num_requests=150, seed=3)
    settings = {**SETTINGS, "num_blocks": POOL, "async_scheduling": in_flight_two}
    scheduler = build_scheduler("vllm", settings=settings)
    return simulate(materialize(load), Truth(load), scheduler, ProfileCost(KNOWN)).receipts


def step_log(receipts: list[StepReceipt], async_scheduling: bool) -> str:
    engine = {
        "format": "servetwin.vllm-steps/1",
        "vllm": "0.32.0",
        "model": "made/up",
        "dtype": "bfloat16",
        "max_position": 4096,
        "tensor_parallel_size": 1,
        "device": "none",
        "settings": {**SETTINGS, "async_scheduling": async_scheduling},
        "graph_sizes": [1, 2, 4],
        "kv": {"num_blocks": POOL, "block_size": 16, "bytes_per_token": 1024},
    }
    return "".join(json.dumps(line) + "\n" for line in (engine, *_steps(receipts)))


def _steps(receipts: list[StepReceipt]) -> Iterator[dict[str, object]]:
    cost = ProfileCost(KNOWN)
    for receipt in receipts:
        plan, step = receipt.plan, features(receipt.plan)
        rows = zip(plan.request_ids, plan.starts, plan.num_tokens, plan.samples, strict=True)
        yield {
            "step": plan.step_id,
            "batch": {i: [start, n, start + n + (not samples)] for i, start, n, samples in rows},
            "schedule_s": receipt.schedule_at / 1e9,
            "scheduled_s": (receipt.schedule_at + cost.schedule_time(step)) / 1e9,
            "done_s": receipt.host_at / 1e9,
            "updated_s": (receipt.host_at + cost.complete_time(step) // 2) / 1e9,
            "finished": list(receipt.outcome.finished),
        }


START = f"""(APIServer pid=1) INFO 11-26 08:13:10 [api_utils.py:286] non-default args: {{'model': 'made/up', \
'max_num_seqs': 32, 'max_num_batched_tokens': 512, 'async_scheduling': False}}
(EngineCore pid=2) INFO 11-26 08:13:17 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: \
model='made/up', speculative_config=None, dtype=torch.bfloat16, max_seq_len=4096, tensor_parallel_size=2, x=1
(EngineCore pid=2) INFO 11-26 08:13:24 [gpu_worker.py:760] Available KV cache memory: 8.0 GiB
(EngineCore pid=2) INFO 11-26 08:13:25 [kv_cache_utils.py:2327] GPU KV cache size: {POOL * 16:,} tokens, Maximum \
concurrency for 4,096 tokens per request: 16.00x
"""


def vllm_log(receipts: list[StepReceipt], with_usage: bool = True) -> str:
    lines = [START]
    for n, receipt in enumerate(receipts):
        plan = receipt.plan
        rows = list(zip(plan.starts, plan.num_tokens, plan.prompt_lens, strict=True))
        context = [count for start, count, prompt in rows if start < prompt]
        decodes = len(rows) - len(context)
        ms = (receipt.host_at - receipt.launch_at) / 1e6
        held = receipt.snapshot.kv_tokens_stored / receipt.snapshot.kv_total
        usage = f", GPU KV cache usage: {100 * held:.1f}%" if with_usage else ""
        lines.append(
            f"(APIServer pid=1) INFO 11-26 08:13:28 [loggers.py:199] Engine 000: Iteration({n}): "
            f"{len(context)} context requests, {sum(context)} context tokens, "
            f"{decodes} generation requests, {decodes} generation tokens, iteration elapsed time: {ms:.2f} ms{usage}\n"
        )
    return "".join(lines)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def steps_to_try() -> list[StepFeatures]:
    """Decodes, a prompt, and both."""
    return [
        StepFeatures.of_decodes(1, 200),
        StepFeatures.of_decodes(24, 24 * 700),
        StepFeatures.of_chunk(400, 0, 0, 0),
        StepFeatures.of_chunk(300, 0, 12, 12 * 500),
    ]
