"""Routers are told of the first token that a request gets on each replica.

A request that came back with a single token left to compute was counted among the decodes, and nobody was told. Noticed
as a request that the predicted-ttft router placed elsewhere on one of the two paths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.request import Request
from serving.route.base import Router
from serving.route.view import ReplicaView
from sim.fleet.plan import Failure
from tests.sim.fleet.world import TEN_A_STEP, Machine, both_paths, play, requests


@dataclass
class Listens(Router):
    heard: list[tuple[str, int]] = field(default_factory=list)

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        return replicas[0]

    def first_token(self, request: Request, replica: ReplicaView) -> None:
        self.heard.append((request.request_id, replica.index))


@both_paths
def test_the_last_chunk_may_be_a_single_token(plain: bool) -> None:
    """Prompt 5 in chunks of 3; at 35 there are two tokens, so 3 + 3 + 1 are computed again on the other replica."""
    router, machine = Listens(), Machine(TEN_A_STEP, settings={"max_num_batched_tokens": 3})
    told = play(requests((0, 5, 6)), [machine] * 2, router, plain=plain, failures=[Failure(0, at=35)])
    assert told.replica_steps(1)[:3] == [(35, 45, {"r0": 3}), (45, 55, {"r0": 3}), (55, 65, {"r0": 1})]
    assert told.tokens["r0"] == [20, 30, 65, 75, 85, 95]
    assert router.heard == [("r0", 0), ("r0", 1)]
