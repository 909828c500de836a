"""Prefix affinity with a load limit: to the replica that should have most of the prompt cached, unless load is uneven.

From SGLang's cache_aware policy (sgl-model-gateway/src/policies/cache_aware.rs, defaults of its mod.rs): the load limit
comes first, uneven is both max - min > balance_abs and max > balance_rel * min, in requests in flight, and then the
least loaded replica gets it; otherwise the best match if it is above threshold, a share of the prompt; otherwise the
least loaded. Whoever gets it, the prompt is recorded there. From llm-d's router: the record (prefix_record.py),
block hashes of token ids for each replica, where SGLang keeps one radix tree over the text's characters.

Our own: equal matches go to the fewest in flight, then the lowest index; loads are those of replicas that take requests
(SGLang counts unhealthy ones too). Not taken: llm-d's weights, by which prefix, queue and KV scores are added up.

It needs prompts as token ids, and the requests in flight by the router's own books.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError
from serving.request import Request
from serving.route.base import Router, least_loaded
from serving.route.prefix_record import PrefixRecords
from serving.route.view import ReplicaView


@dataclass
class PrefixAffinity(Router):
    """threshold: share of the prompt, 0 to 1. balance_abs: requests. balance_rel: a factor, at least 1."""

    threshold: float = 0.5
    balance_abs: int = 32
    balance_rel: float = 1.1

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"prefix-affinity: threshold is {self.threshold}; it is a share of the prompt, 0 to 1")
        if self.balance_abs < 0 or not self.balance_rel >= 1:
            raise ConfigError(
                f"prefix-affinity: balance_abs is {self.balance_abs} and balance_rel {self.balance_rel}; "
                f"they must be at least 0 requests and a factor of 1"
            )
        self._records = PrefixRecords()

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        least = least_loaded(replicas)
        most = max(replica.in_flight for replica in replicas)
        if most - least.in_flight > self.balance_abs and most > self.balance_rel * least.in_flight:
            return least
        hits = {replica: self._records.hit_tokens(request, replica) for replica in replicas}
        best = max(replicas, key=lambda replica: (hits[replica], -replica.in_flight))
        return best if hits[best] > self.threshold * request.prompt_len else least

    def placed(self, request: Request, replica: ReplicaView) -> None:
        self._records.placed(request, replica)

    def lost(self, replica: ReplicaView) -> None:
        self._records.lost(replica)
