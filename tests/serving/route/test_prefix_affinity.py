"""Prefixes stay together until load is uneven, and the record of them is what an engine would hit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.prompts import NamedPrompt
from serving.errors import ConfigError
from serving.request import Request
from serving.route.front import Front
from serving.route.prefix_record import PrefixRecords
from serving.route.registry import ROUTERS
from serving.route.view import ReplicaSpec
from serving.schedule.config import EngineConfig
from serving.schedule.engine import build_scheduler
from serving.schedule.spec import make
from serving.state.hashing import extend_hashes, prompt_hashes
from tests.serving.drive import step
from tests.serving.route.fleets import ask, fleet, send, spec

TREE = st.lists(st.tuples(st.lists(st.integers(0, 1), max_size=5), st.integers(1, 9)), min_size=1, max_size=25)
"""Prompts as branches, each with an end of its own length."""
CONFIG = EngineConfig(block_size=4, num_blocks=512, max_num_batched_tokens=512, max_model_len=256)


def prompts(tree):
    """Equal branches begin with equal tokens: a segment of three for each turn taken."""
    for i, (branch, own) in enumerate(tree):
        tokens = [100 * k + sum(2**j * side for j, side in enumerate(branch[:k])) for k in range(1, len(branch) + 1)]
        yield Request(f"r{i}", 0, tuple(t for token in tokens for t in [token] * 3) + (10_000 + i,) * own, 1)


def lone_view(config: EngineConfig = CONFIG):
    return Front(make("router", "round-robin", ROUTERS), [ReplicaSpec(0, "cpu", config)]).replica(0)


@given(TREE, st.sampled_from([1, 3, 4, 16]))
def test_the_record_hits_what_an_engine_hits(tree, block_size) -> None:
    """One that evicts nothing and is asked one request after the other."""
    config = EngineConfig(block_size=block_size, num_blocks=2048, max_num_batched_tokens=512, max_model_len=256)
    settings = {"block_size": block_size, "num_blocks": 2048, "max_num_batched_tokens": 512, "max_model_len": 256}
    scheduler, records, view = build_scheduler("vllm", settings=settings), PrefixRecords(), lone_view(config)
    for request in prompts(tree):
        scheduler.add(request, 0)
        plan, _ = step(scheduler)
        assert records.hit_tokens(request, view) == plan.admitted[0].num_cached
        records.placed(request, view)


@given(TREE, st.integers(1, 20))
def test_the_record_is_a_bounded_lru_whose_beginnings_outlive_ends(tree, num_blocks) -> None:
    """Against lists: most recent first, and of a prompt the beginning before the end."""
    records, view = PrefixRecords(), lone_view(EngineConfig(block_size=4, num_blocks=num_blocks))
    recent: list[bytes] = []
    for request in prompts(tree):
        hashes = prompt_hashes(request.prompt_token_ids, 4)
        usable = hashes[: (request.prompt_len - 1) // 4]
        expected = next((i for i, content in enumerate(usable) if content not in recent), len(usable))
        assert records.hit_tokens(request, view) == 4 * expected
        records.placed(request, view)
        recent = [*hashes, *(content for content in recent if content not in hashes)][:num_blocks]
    records.lost(view)
    assert all(records.hit_tokens(request, view) == 0 for request in prompts(tree))


@given(st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_hashes_of_a_prompt_are_those_of_its_request(length, block_size, drawn) -> None:
    prompt = NamedPrompt(("a", "b", "c", "d"), 10, length) if drawn else tuple(range(length))
    scheduler = build_scheduler("vllm", settings={"block_size": block_size})
    scheduler.add(Request("r", 0, prompt, 1), 0)
    (state,) = scheduler._views
    extend_hashes(state, length // block_size, block_size)
    assert prompt_hashes(prompt, block_size) == state.block_hashes


def together(text: str, num_replicas: int = 3) -> Front:
    return fleet(make("router", text, ROUTERS), num_replicas)


SHARED = list(range(80))


def test_a_prefix_stays_together_until_load_is_uneven() -> None:
    """balance_abs 4, balance_rel 1.5: 5 in flight on one and none on others is more than both allow."""
    front = together("prefix-affinity(balance_abs=4, balance_rel=1.5)")
    got = [send(front, ask(f"r{i}", [*SHARED, 1000 + i])) for i in range(7)]
    assert got == [0, 0, 0, 0, 0, 1, 2]
    assert send(front, ask("b", [*SHARED, 8])) == 1, "even now: of equal matches the fewest in flight"


@pytest.mark.parametrize(
    ("loads", "place"),
    [
        ((2, 0), 0),  # the number is not above 2
        ((3, 0), 1),
        ((10, 7), 0),  # the number is, but 10 is not above twice 7
        ((6, 3), 0),
        ((7, 3), 1),
    ],
)
def test_load_is_uneven_only_if_it_is_so_by_number_and_by_share(loads, place) -> None:
    front = together("prefix-affinity(balance_abs=2, balance_rel=2.0)", 2)
    front.draining(1)
    for i in range(loads[0]):
        front.submit(ask(f"a{i}", [*SHARED, i]), 0)
    front.draining(0)
    front.up(1, 0)
    for i in range(loads[1]):
        front.submit(ask(f"b{i}", 3), 0)
    front.up(0, 0)
    assert tuple(front.replica(i).in_flight for i in range(2)) == loads
    assert send(front, ask("c", [*SHARED, 1000])) == place


def test_a_match_counts_above_its_threshold_only() -> None:
    """Half of 32 tokens are cached: 16 is not more than 0.5 of them, but more than 0.49."""
    for threshold, place in ((0.5, 1), (0.49, 0)):
        front = together(f"prefix-affinity(threshold={threshold})")
        assert send(front, ask("a", SHARED[:16])) == 0
        assert send(front, ask("b", SHARED[:16] + [7] * 16)) == place


def test_the_longest_match_wins() -> None:
    front = together("prefix-affinity(threshold=0.1)")
    assert send(front, ask("a", SHARED[:20])) == 0
    front.draining(0)
    assert send(front, ask("b", SHARED[:60])) == 1
    front.up(0, 0)
    assert send(front, ask("c", SHARED[:24])) == 0, "equal matches, equal loads: the lowest index"
    assert send(front, ask("d", SHARED)) == 1
    front.down(1, 1)
    front.up(1, 1)
    assert send(front, ask("e", SHARED)) == 0, "what was lost with a replica is not believed any more"


def test_replicas_may_have_other_block_sizes() -> None:
    front = Front(make("router", "prefix-affinity", ROUTERS), [spec(0), ReplicaSpec(1, "x", EngineConfig())])
    front.up(1, 0)
    assert send(front, ask("a", SHARED)) == 1
    front.up(0, 0)
    assert send(front, ask("b", [*SHARED, 5])) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("threshold=1.5", "prefix-affinity: threshold is 1.5; it is a share of the prompt, 0 to 1"),
        ("balance_abs=-1", "balance_abs is -1 and balance_rel 1.1; they must be at least 0 requests and a factor of 1"),
        ("balance_rel=0.5", "balance_abs is 32 and balance_rel 0.5"),
    ],
)
def test_options_that_cannot_be(options, words) -> None:
    with pytest.raises(ConfigError, match=words):
        make("router", f"prefix-affinity({options})", ROUTERS)
