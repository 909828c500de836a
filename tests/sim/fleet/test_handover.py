"""Prompts computed by one replica, outputs by another: the KV crosses a link between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from serving.errors import ConfigError
from serving.request import Request
from serving.route.base import Router
from serving.route.view import ReplicaView
from sim.fleet.plan import LinkSpec
from sim.scripted import ScriptedCost
from tests.sim.fleet.world import Machine, both_paths, play, requests

PREFILL = Machine(role="prefill", kv_bytes_per_token=3)
DECODE = Machine(role="decode")
A_BYTE_A_NS = LinkSpec(1e9)


@both_paths
def test_the_whole_story_of_a_request_that_moves(plain: bool) -> None:
    """Its first token is on the host at 42 and with the client at 47; the KV of 4 prompt tokens, 12 bytes, takes 2 + 12
    ns, and is with the decode replica at 56. There the first output token is the only one to compute.
    """
    cost = ScriptedCost(execute=lambda step: 10 * step.num_tokens, schedule=2, return_=5)
    told = play(
        requests((0, 4, 3)),
        [PREFILL._replace(cost=cost), DECODE._replace(cost=cost)],
        plain=plain,
        link=LinkSpec(1e9, latency=2),
    )
    assert told.replica_steps(0) == [(0, 42, {"r0": 4})]
    assert told.replica_steps(1) == [(56, 68, {"r0": 1}), (68, 80, {"r0": 1})]
    assert told.tokens == {"r0": [47, 73, 85]}
    assert told.moves == [(0, "r0")]
    assert told.places("r0") == [0, 1]
    assert told.fleet.tokens_moved == 4
    timeline = told.timeline("r0")
    assert (timeline.ttft, timeline.schedule, timeline.prefill, timeline.return_) == (47, 2, 40, 5)
    assert (timeline.decode, timeline.stream) == (80 - 47, 5)


@both_paths
@pytest.mark.parametrize(("channels", "second"), [(1, 64), (2, 52)])
def test_two_that_move_at_once_take_turns_on_one_channel(plain: bool, channels: int, second: int) -> None:
    """Both prompts are computed in one step, 40 ns; each has 2 tokens of 6 bytes, so 12 ns on the link."""
    link = LinkSpec(1e9, channels=channels)
    prefill = PREFILL._replace(kv_bytes_per_token=6)
    told = play(requests((0, 2, 2), (0, 2, 2)), [prefill, DECODE, DECODE], plain=plain, link=link)
    assert told.replica_steps(1) == [(52, 62, {"r0": 1})]
    assert told.replica_steps(2) == [(second, second + 10, {"r1": 1})]
    assert told.fleet.tokens_moved == 4


@both_paths
def test_the_link_is_first_come_first_served(plain: bool) -> None:
    """r0's KV has the link from 90 to 180; r1's is there at 100, and r2's at 110, and both wait."""
    machines = [Machine(role="prefill", kv_bytes_per_token=10)] * 3 + [DECODE] * 3
    told = play(requests((0, 9, 2), (0, 10, 2), (0, 11, 2)), machines, plain=plain, link=A_BYTE_A_NS)
    assert [told.replica_steps(i)[0][0] for i in (3, 4, 5)] == [180, 280, 390]


@both_paths
def test_one_token_outputs_never_move(plain: bool) -> None:
    told = play(requests((0, 2, 1), (0, 2, 2), (0, 3, 1)), [PREFILL, DECODE], plain=plain, link=A_BYTE_A_NS)
    assert told.moves == [(0, "r1")]
    assert [told.places(f"r{i}") for i in range(3)] == [[0], [0, 1], [0]]
    assert {request_id: len(times) for request_id, times in told.tokens.items()} == {"r0": 1, "r1": 2, "r2": 1}


@both_paths
def test_an_output_that_the_longest_context_ends_at_its_first_token_does_not_move(plain: bool) -> None:
    prefill = PREFILL._replace(settings={"max_model_len": 5})
    told = play(requests((0, 4, 9)), [prefill, DECODE], plain=plain, link=A_BYTE_A_NS)
    assert told.moves == []
    assert told.tokens == {"r0": [40]}


@both_paths
def test_prefill_and_decode_do_not_disturb_each_other(plain: bool) -> None:
    """r1's long prompt is computed while r0 decodes, which gets its tokens every 10 ns."""
    told = play(requests((0, 1, 5), (10, 50, 2)), [PREFILL, DECODE], plain=plain, link=A_BYTE_A_NS)
    assert told.tokens["r0"] == [10, 23, 33, 43, 53]
    assert told.replica_steps(0) == [(0, 10, {"r0": 1}), (10, 510, {"r1": 50})]


@both_paths
def test_a_router_of_its_own_places_those_that_come_with_kv(plain: bool) -> None:
    """Round robin over prefill replicas 0 and 1; of decode replicas 2 and 3 the first still has r1 when r2 comes."""
    told = play(
        requests((0, 2, 2), (0, 1, 30), (50, 1, 2)),
        [PREFILL, PREFILL, DECODE, DECODE],
        decode_router="join-shortest-queue",
        plain=plain,
        link=A_BYTE_A_NS,
    )
    assert [told.places(f"r{i}") for i in range(3)] == [[0, 3], [1, 2], [0, 3]]


@dataclass
class Looks(Router):
    """All to the first replica, whose books and metrics it notes."""

    def __post_init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        self.seen.append((now, replicas[0].in_flight, replicas[0].metrics.kv_held))
        return replicas[0]


@both_paths
def test_on_its_way_kv_is_in_neither_pool(plain: bool) -> None:
    """r0's KV is on the link from 40 to 52, while r1 is placed by both routers, at 41 and 51."""
    first, second = Looks(), Looks()
    machines = [m._replace(settings={"block_size": 4}) for m in (PREFILL, DECODE)]
    load = requests((0, 4, 9), (41, 1, 2), (60, 1, 1))
    play(load, machines, first, decode_router=second, plain=plain, link=A_BYTE_A_NS)
    assert first.seen == [(0, 0, 0), (41, 0, 0), (60, 0, 0)]
    assert second.seen == [(40, 0, 0), (51, 1, 0)]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (LinkSpec(0.0), "a link of 0 bytes a second moves nothing; its bandwidth must be above 0"),
        (LinkSpec(-1e9), "a link of -1e\\+09 bytes a second moves nothing"),
        (LinkSpec(1e9, latency=-1), "a latency of -1 ns and 1 channels; give 0 and 1 at least"),
        (LinkSpec(1e9, channels=0), "a latency of 0 ns and 0 channels"),
        (None, "prefill and decode replicas need a link between them"),
    ],
)
def test_a_link_on_which_nothing_would_arrive_is_refused(link: LinkSpec | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        play(requests((0, 1, 2)), [PREFILL, DECODE], link=link)
