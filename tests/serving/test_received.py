"""A request that another replica has begun: its output counts, and the KV that it brings need not be computed."""

from dataclasses import replace

import pytest

from serving.errors import RequestError
from serving.request import Request, RequestState
from serving.schedule.engine import build_scheduler
from serving.state.eviction.reuse_order import Lru
from serving.state.hashing import extend_hashes
from serving.state.host_tier import HostTier
from serving.state.pool import BlockPool
from serving.state.prefix_index import OldestBlock
from serving.state.uncached_pool import UncachedPool
from tests.serving.drive import batch, request, step

UNCACHED = {"enable_prefix_caching": False, "block_size": 4, "max_model_len": 64}


def begun(request_id: str, prompt: int, max_tokens: int, output: int, received: int) -> Request:
    return replace(request(request_id, prompt, max_tokens), output_token_ids=(5,) * output, num_received=received)


@pytest.mark.parametrize(("output", "received"), [(3, 0), (4, 0), (0, 8), (2, 10), (2, 11), (2, -1)])
def test_one_token_must_be_left_to_compute_and_one_to_generate(output, received) -> None:
    scheduler = build_scheduler("vllm")
    words = f"it brings {output} of at most 3 output tokens and the KV of {received} of its {8 + output} tokens"
    with pytest.raises(RequestError, match=f"request a: {words}; one of each must be left to compute"):
        scheduler.add(begun("a", 8, 3, output, received), 0)
    scheduler.add(begun("a", 8, 3, min(output, 2), 7), 0)


@pytest.mark.parametrize("caching", [True, False])
def test_it_goes_on_where_the_other_stopped(caching) -> None:
    scheduler = build_scheduler("vllm", settings={**UNCACHED, "enable_prefix_caching": caching})
    scheduler.add(begun("a", 8, 4, 2, 9), 0)
    assert scheduler.num_output("a") == 2
    plan, outcome = step(scheduler)
    assert (plan.starts, plan.num_tokens, plan.samples, plan.prompt_lens) == ((9,), (1,), (True,), (8,))
    assert plan.admitted[0].num_cached == 9
    assert plan.admitted[0].token_ids[8:] == (5, 5)
    assert not outcome.finished
    assert step(scheduler)[1].finished == ("a",)


def test_what_it_brought_is_gone_once_it_has_given_way() -> None:
    """b brings 7 tokens of 8; a takes its blocks; it comes back with nothing."""
    scheduler = build_scheduler("vllm", settings={**UNCACHED, "num_blocks": 4})
    scheduler.add(request("a", 7, 9), 0)
    scheduler.add(begun("b", 8, 4, 0, 7), 0)
    plan = step(scheduler)[0]
    assert batch(plan) == {"a": 7, "b": 1}
    assert step(scheduler)[0].preempted == ("b",)
    while "b" not in batch(plan := step(scheduler)[0]):
        pass
    assert plan.admitted[0].num_cached == 0
    assert plan.starts == (0,)


def state(name: str, received: int) -> RequestState:
    return RequestState.of(Request(name, 0, tuple(range(14)), 9, num_received=received), max_model_len=64)


def test_what_came_along_counts_where_the_cache_has_less() -> None:
    """Two blocks of 4 are on the device, and the third is on the host."""
    host, first = HostTier(2), state("first", 0)
    pool = BlockPool(8, 4, OldestBlock(), Lru(), host)
    pool.admit(first, pool.hits(first), 4)
    pool.publish(first, 8)
    extend_hashes(first, 3, 4)
    on_host = host.cache(first.block_hashes[2])
    cached = pool.hits(state("a", 0))
    assert ([block.block_id for block in cached.blocks], cached.host_block_ids) == ([0, 1], (on_host,))
    assert cached.num_tokens == 12
    brought = pool.hits(state("a", 9))
    assert (brought.blocks, brought.host_block_ids, brought.num_tokens) == (cached.blocks, (), 9)
    for received in (7, 8):
        assert pool.hits(state("a", received)) == cached


def test_what_came_along_counts_without_a_cache() -> None:
    pool = UncachedPool(8, 4, True)
    assert pool.hits(state("a", 9)).num_tokens == 9
    assert pool.hits(state("a", 0)).num_tokens == 0
