"""Predicted TTFT: to the replica whose profile promises the first token soonest; of several the fewest in flight.

The prediction: what was sent there and has got no token yet, then this request, each less what the replica should have
cached of it (prefix_record.py) or what came along, in steps as full as its token budget allows beside its decodes. A
step is predicted as one prompt, and a decode of each request that has got a token. Not predicted: waiting for a seat or
for KV blocks, what the step in progress has done already, and output, so that a decode reads its prompt alone.

It needs a profile of each replica, prompts as token ids, and which requests have a first token. Source: Mooncake's
KVCache-aware prefill scheduling (Qin et al., arXiv 2407.00079: queueing time and prefill time after the prefix match,
the smallest sum wins); the step times are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.cost import StepFeatures
from serving.request import Request
from serving.route.base import Router
from serving.route.prefix_record import PrefixRecords
from serving.route.view import ReplicaView


@dataclass
class PredictedTtft(Router):
    needs = frozenset({"cost"})

    def __post_init__(self) -> None:
        self._records = PrefixRecords()
        self._left: dict[str, int] = {}  # request without first token -> tokens to compute
        self._ahead: dict[ReplicaView, int] = {}  # their sum

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        return min(replicas, key=lambda replica: (self.predict(request, replica), replica.in_flight, replica.index))

    def predict(self, request: Request, replica: ReplicaView) -> int:
        """Nanoseconds from now to its first token on the host, if it is sent there."""
        left, stored = self._work(request, replica)
        tokens = self._ahead.get(replica, 0) + left
        decodes = replica.in_flight - replica.in_flight_prefills
        budget = max(1, replica.config.max_num_batched_tokens - decodes)
        full, rest = divmod(tokens, budget)
        predicted = full * _step_time(replica, decodes, budget, 0) if full else 0
        return predicted + (_step_time(replica, decodes, rest, stored) if rest else 0)

    def placed(self, request: Request, replica: ReplicaView) -> None:
        left, _ = self._work(request, replica)
        self._left[request.request_id] = left
        self._ahead[replica] = self._ahead.get(replica, 0) + left
        self._records.placed(request, replica)

    def first_token(self, request: Request, replica: ReplicaView) -> None:
        self._ahead[replica] -= self._left.pop(request.request_id, 0)

    ended = first_token

    def lost(self, replica: ReplicaView) -> None:
        self._records.lost(replica)

    def _work(self, request: Request, replica: ReplicaView) -> tuple[int, int]:
        """Its tokens to compute there, and those whose KV should be there."""
        tokens = request.prompt_len + len(request.output_token_ids)
        stored = max(request.num_received, self._records.hit_tokens(request, replica))
        return tokens - stored, stored


def _step_time(replica: ReplicaView, decodes: int, chunk: int, stored: int) -> int:
    """Of a step with so many decodes, and one chunk of a prompt behind so many stored tokens."""
    context = replica.in_flight_tokens - replica.in_flight_prefill_tokens + decodes
    return replica.step_time(StepFeatures.of_chunk(chunk, stored, decodes, context))
