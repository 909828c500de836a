"""vLLM's prefix-cache counters on a recorded workload: queried and hit tokens come out exactly.

A queried token is one of a prompt that is admitted for the first time; a hit token is one of its leading full blocks
that the cache held then (vLLM's PrefixCacheStats). The workload names the content of each block, so no model is needed.
"""

import json
from pathlib import Path

import pandas as pd
import pytest

from lab.runs import simulate_run
from records.cost_terms import CostTerms, Term
from records.profile import KVCapacity, Profile
from records.run import RunRecord
from serving.schedule.engine import EngineSpec
from workloads.workload import Workload, WorkloadRequest

MEASURED = Path(__file__).parents[3] / "shared" / "measured" / "a6000-prefix-cache"
WORKLOAD = MEASURED / "ispass26_sharegpt_pulse_req50_n6_delay15_pc.jsonl"
BLOCK = 16
BURST_GAP_S = 5.0

pytestmark = pytest.mark.skipif(not MEASURED.exists(), reason="../shared/measured/a6000-prefix-cache is not here")


def workload() -> Workload:
    requests = []
    for n, line in enumerate(WORKLOAD.read_text().splitlines()):
        said = json.loads(line)
        own = (-1 - n,) if said["prompt_tokens"] % BLOCK else ()  # the last, partial block is nobody else's
        requests.append(
            WorkloadRequest(
                request_id=f"{n:03}",
                arrival_time=round(said["arrival_s"] * 1e9),
                prompt_len=said["prompt_tokens"],
                output_len=said["output_tokens"],
                max_tokens=said["output_tokens"],
                hash_ids=(*said["block_ids_16"], *own),
                hash_block=BLOCK,
            )
        )
    return Workload(WORKLOAD.stem, tuple(requests))


def profile(pace: float) -> Profile:
    """Llama-3.1-8B on an A6000 by its datasheet, about: 16 GB of weights at 768 GB/s, 155 TFLOP/s of bf16."""

    def cost(**milliseconds: float) -> CostTerms:
        return CostTerms(
            terms=tuple(Term(name=f, feature=f, coefficient_ms=pace * c, meaning="") for f, c in milliseconds.items())
        )

    return Profile(
        name="a6000",
        model={"max_position": 131072},
        hardware={},
        software={},
        conditions={},
        execute=cost(one=21.0, num_tokens=0.15, decode_context=0.0002),
        schedule=cost(one=0.5, num_seqs=0.01),
        complete=cost(one=0.5, num_seqs=0.01),
        return_=cost(one=0.5),
        residual={},
        hull={},
        kv=KVCapacity(num_blocks=1, block_size=BLOCK, bytes_per_token=131072),
    )


def run(folder: Path, pace: float = 1.0) -> RunRecord:
    config = json.loads((MEASURED / "config.json").read_text())
    names = ("block_size", "max_num_seqs", "max_num_batched_tokens")
    settings = {"num_blocks": config["kv_tokens"] // BLOCK, **{name: config[name] for name in names}}
    return simulate_run(folder, workload(), profile(pace), EngineSpec("vllm", settings=settings))


def test_queried_and_hit_tokens_are_those_that_vllm_counted(tmp_path: Path) -> None:
    config = json.loads((MEASURED / "config.json").read_text())
    requests = run(tmp_path / "run").requests
    assert (requests["status"] == "finished").all()
    assert requests["prompt_len"].sum() == config["prefix_cache_queries"] == 82_645
    assert requests["num_cached"].sum() == config["prefix_cache_hits"] == 21_264


def test_burst_by_burst_the_counters_stand_where_vllm_had_them(tmp_path: Path) -> None:
    """Where vLLM's counters rest between two bursts, those of the simulation pass too, after as many requests.

    The client of the measurement sent the first request of each burst at the end of the burst before.
    """
    counters = pd.read_csv(MEASURED / "kv_metrics_sd.csv", parse_dates=["timestamp"])
    queries, hits = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
    grows = counters[counters[queries].diff() > 0]
    begins = grows["timestamp"].diff().dt.total_seconds() > BURST_GAP_S
    measured = grows.groupby(begins.cumsum())[[queries, hits]].last().to_numpy(dtype=int).tolist()
    requests = run(tmp_path / "run").requests.sort_values("arrival_s")
    first = (requests["arrival_s"].diff() > BURST_GAP_S).to_numpy()
    rests = [*first.nonzero()[0], len(requests) - 1]
    simulated = requests[["prompt_len", "num_cached"]].cumsum().to_numpy()[rests].tolist()
    assert len(simulated) == 6
    assert simulated == measured


@pytest.mark.parametrize("pace", [0.2, 3.0])
def test_the_counters_do_not_depend_on_how_fast_the_gpu_is(tmp_path: Path, pace: float) -> None:
    """A block can be hit from the step on that will fill it, as in vLLM, and the pool is large enough to lose none."""
    requests = run(tmp_path / "run", pace).requests
    assert (requests["prompt_len"].sum(), requests["num_cached"].sum()) == (82_645, 21_264)
