"""What the running engines decided, step by step, on seeded workloads (vLLM 0.32.0 and nano-vLLM bb823b3)."""

import json
from collections import Counter
from pathlib import Path

import pytest

from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Idle
from serving.schedule.presets import PRESETS, build_scheduler
from tests.serving.drive import batch

TRACES = Path(__file__).parents[3] / "shared" / "decision-traces"
FILES = sorted(TRACES.glob("*/*.json"))
NOT_YET = {"29-async-light", "30-async-kv-starved"}
ENGINE_DIES = {("nano-vllm", "15-block-size-1"), ("nano-vllm", "32-nano-self-preempt")}
SETTINGS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "num_blocks",
    "enable_prefix_caching",
    "enable_chunked_prefill",
    "long_prefill_token_threshold",
    "watermark",
    "scheduler_reserve_full_isl",
)


def token(stream: int, i: int) -> int:
    return 3 + (stream * 100003 + i) % 30000


def build(engine: str, config: dict):
    settings = {k: config[k] for k in SETTINGS if k not in PRESETS[engine].without_effect}
    settings["max_model_len"] = 10**9 if engine == "nano-vllm" else config["max_model_len"]
    return build_scheduler(engine, config["policy"], settings)


@pytest.mark.skipif(not FILES, reason="../shared/decision-traces is not here")
@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_equals_the_engine_step_by_step(path: Path) -> None:
    engine = path.parent.name
    trace = json.loads(path.read_text())
    if path.stem in NOT_YET:
        pytest.skip("async scheduling is not built yet")
    scheduler = build(engine, trace["config"])
    streams = {r["id"]: r["output_stream"] for r in trace["requests"]}
    sampled: Counter[str] = Counter()
    for k, expected in enumerate(trace["steps"]):
        for i, r in enumerate(trace["requests"]):
            if r["arrival_step"] != k:
                continue
            prompt = [token(s, j) for s, start, n in r["prompt"] for j in range(start, start + n)]
            request = Request(r["id"], i, prompt, r["output_len"], priority=r.get("priority", 0))
            if (engine, path.stem) == ("nano-vllm", "32-nano-self-preempt"):
                with pytest.raises(RequestError, match="KV blocks"):
                    scheduler.add(request, k)
                return
            scheduler.add(request, k)
        if "error" in expected:
            assert (engine, path.stem) in ENGINE_DIES
            return
        plan = scheduler.schedule(k)
        if expected.get("idle"):
            assert isinstance(plan, Idle)
            continue
        assert not isinstance(plan, Idle)
        scheduler.check()
        after = scheduler.snapshot()
        decided = {
            "scheduled": list(batch(plan).items()),
            "computed": dict(zip(plan.request_ids, plan.starts, strict=True)),
            "cached_prefix": {a.request_id: a.num_cached for a in plan.admitted},
            "preempted": list(plan.preempted),
            "free_blocks": (after.kv_free + after.kv_cached_idle) // trace["config"]["block_size"],
            "waiting": after.num_waiting,
            "running": after.num_running,
        }
        if "new_blocks" in expected:
            decided["new_blocks"] = {r: list(blocks) for r, blocks in plan.new_blocks}
        tokens = []
        for request_id, samples in zip(plan.request_ids, plan.samples, strict=True):
            tokens.append((token(streams[request_id], sampled[request_id]),) if samples else ())
            sampled[request_id] += samples
        outcome = scheduler.complete(plan.step_id, tokens, k)
        scheduler.check()
        end = scheduler.snapshot()
        decided["finished"] = list(outcome.finished)
        decided["free_blocks_end"] = (end.kv_free + end.kv_cached_idle) // trace["config"]["block_size"]
        expected["scheduled"] = list(expected["scheduled"].items())
        assert decided == {name: expected[name] for name in decided}, f"step {k}"
