"""Longest prefix match: who has the most of its prompt in the cache goes first.

Of several waiting requests with the same beginning that is not cached yet, the first goes and the others wait for it at
the end of the round. With more than 128 waiting it is first come, first served. Source: SGLang
python/sglang/srt/managers/schedule_policy.py (CacheAwarePolicy.LPM, in-batch prefix caching with its thresholds of 32).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.schedule.policies.cache_aware import CacheAware
from serving.view import RequestView

SHARED = 32
"""Tokens: with no more than this cached, a request looks whether it begins like an earlier one."""


@dataclass
class Lpm(CacheAware):
    def order(self, waiting: Sequence[RequestView]) -> Sequence[RequestView]:
        cached = {request: self.engine.cached_tokens(request) for request in waiting}
        last: set[RequestView] = set()
        beginnings: set[tuple[int, ...]] = set()
        for request in waiting:
            if cached[request] > SHARED or request.prompt_len < SHARED:
                continue
            beginning = tuple(request.request.prompt_token_ids[:SHARED])
            if beginning in beginnings:
                last.add(request)
            beginnings.add(beginning)
        return sorted(waiting, key=lambda request: (request in last, -cached[request]))
