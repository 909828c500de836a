"""What a router believes the prefix caches of replicas hold: the prompts that it sent there, the most recent ones.

For each replica a least recently used list of block hashes, as long as the replica's pool: the approximate index of
llm-d's router (approximateprefix/indexer.go; its autoTune, too, takes block and pool size from the replica). It knows
nothing of output, of preemption, or of what the replica really evicts. llm-d forgets the beginning of an old prompt
first; here its end goes first, as in the engines, since an end is worth nothing without its beginning.
"""

from bisect import bisect_left
from collections.abc import Sequence

from serving.request import Request
from serving.route.view import ReplicaView
from serving.state.hashing import prompt_hashes


class PrefixRecords:
    def __init__(self) -> None:
        self._records: dict[ReplicaView, dict[bytes, None]] = {}  # block hashes, least recently used first
        self._hashed: Request | None = None  # whose hashes are known, by block size
        self._hashes: dict[int, list[bytes]] = {}

    def hit_tokens(self, request: Request, replica: ReplicaView) -> int:
        """Leading tokens that the replica should have cached, full blocks; one token is always left to compute."""
        record = self._records.get(replica)
        if not record:
            return 0
        block_size = replica.block_size
        hashes = self._hashes_of(request, block_size)
        most = (request.prompt_len - 1) // block_size
        # Beginnings outlive ends, so all that is there comes first.
        return bisect_left(hashes, True, hi=most, key=lambda content: content not in record) * block_size

    def placed(self, request: Request, replica: ReplicaView) -> None:
        record = self._records.setdefault(replica, {})
        for content in reversed(self._hashes_of(request, replica.block_size)):
            record.pop(content, None)
            record[content] = None
        oldest = iter(record)
        for content in [next(oldest) for _ in range(len(record) - replica.config.num_blocks)]:
            del record[content]

    def lost(self, replica: ReplicaView) -> None:
        self._records.pop(replica, None)

    def _hashes_of(self, request: Request, block_size: int) -> Sequence[bytes]:
        if self._hashed is not request:
            self._hashed, self._hashes = request, {}
        if block_size not in self._hashes:
            self._hashes[block_size] = prompt_hashes(request.prompt_token_ids, block_size)
        return self._hashes[block_size]
