"""Fleets without a world: replicas that a test starts, fills and empties by hand."""

from collections.abc import Sequence

from serving.cost import CostModel
from serving.request import Request
from serving.route.base import Router
from serving.route.front import Front
from serving.route.view import Metrics, ReplicaSpec
from serving.schedule.config import EngineConfig
from sim.scripted import ScriptedCost

COST = ScriptedCost(execute=lambda step: 1000 + 10 * step.num_tokens + step.decode_context)
CONFIG = EngineConfig(block_size=4, num_blocks=100, max_num_batched_tokens=64, max_num_seqs=8, max_model_len=256)


def spec(index: int, cost: CostModel | None = COST, config: EngineConfig = CONFIG) -> ReplicaSpec:
    return ReplicaSpec(index, f"cpu{index}", config, cost=cost)


def fleet(router: Router, num_replicas: int) -> Front:
    """All up, empty."""
    front = Front(router, [spec(i) for i in range(num_replicas)])
    for i in range(num_replicas):
        front.up(i, 0)
    return front


def ask(
    request_id: str, prompt: int | Sequence[int] = 8, session: str = "", output: Sequence[int] = (), received: int = 0
) -> Request:
    """An int prompt means that many tokens nobody else has. output, received: it comes from another replica."""
    if isinstance(prompt, int):
        base = 1000 * (1 + int.from_bytes(request_id.encode(), "big") % 1_000_003)
        prompt = range(base, base + prompt)
    return Request(
        request_id, 0, tuple(prompt), 4, session_id=session, output_token_ids=tuple(output), num_received=received
    )


def send(front: Front, request: Request, now: int = 0) -> int:
    """The replica that gets it at once."""
    (placed,) = front.submit(request, now)
    assert (placed.request, placed.at) == (request, now)
    assert front.placed_on(request.request_id) == placed.index
    return placed.index


def held(at: int, kv_held: int, kv_total: int = 400) -> Metrics:
    return Metrics(at, 0, 1, kv_total, kv_held, 0, kv_total - kv_held)
