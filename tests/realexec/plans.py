"""Plans by hand: a world that hands out blocks in random order and remembers what every request should hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from serving.schedule.contract import Admission, Plan


@dataclass
class Held:
    tokens: list[int]
    prompt_len: int
    stored: int = 0
    blocks: list[int] = field(default_factory=list)
    running: bool = False


class World:
    """step() takes (request, tokens to compute) pairs and returns the plan; admits and allocates as needed."""

    def __init__(self, num_blocks: int, block_size: int, seed: int = 0) -> None:
        self.block_size = block_size
        self.requests: dict[str, Held] = {}
        self._free = list(range(num_blocks))
        Random(seed).shuffle(self._free)
        self._held: dict[int, int] = {}
        self._step = 0
        self._preempted: list[str] = []
        self._released: list[str] = []

    def add(self, request_id: str, prompt: Sequence[int]) -> None:
        self.requests[request_id] = Held(list(prompt), len(prompt))

    def share_prefix(self, request_id: str, donor: str) -> None:
        """A waiting request takes the donor's full blocks of their common prefix, never its own last token."""
        mine, theirs = self.requests[request_id], self.requests[donor]
        common = 0
        while common < min(len(mine.tokens) - 1, theirs.stored) and mine.tokens[common] == theirs.tokens[common]:
            common += 1
        mine.blocks = theirs.blocks[: common // self.block_size]
        mine.stored = len(mine.blocks) * self.block_size
        for block in mine.blocks:
            self._held[block] += 1

    def preempt(self, request_id: str) -> None:
        self._preempted.append(request_id)
        self._give_back(self.requests[request_id])

    def release(self, request_id: str) -> None:
        self._released.append(request_id)
        self._give_back(self.requests.pop(request_id))

    def left(self, request_id: str) -> int:
        """Tokens it knows and has not computed."""
        return len(self.requests[request_id].tokens) - self.requests[request_id].stored

    def step(self, batch: Sequence[tuple[str, int]]) -> Plan:
        admitted, new_blocks, starts = [], [], []
        for request_id, n in batch:
            request = self.requests[request_id]
            fresh: list[int] = []
            if not request.running:
                admitted.append(Admission(request_id, tuple(request.tokens), request.stored))
                fresh += request.blocks
                request.running = True
            starts.append(request.stored)
            request.stored += n
            while len(request.blocks) * self.block_size < request.stored:
                block = self._free.pop()
                self._held[block] = 1
                request.blocks.append(block)
                fresh.append(block)
            if fresh:
                new_blocks.append((request_id, tuple(fresh)))
        plan = Plan(
            step_id=self._step,
            request_ids=tuple(r for r, _ in batch),
            starts=tuple(starts),
            num_tokens=tuple(n for _, n in batch),
            samples=tuple(self.left(r) == 0 for r, _ in batch),
            prompt_lens=tuple(self.requests[r].prompt_len for r, _ in batch),
            admitted=tuple(admitted),
            new_blocks=tuple(new_blocks),
            preempted=tuple(self._preempted),
            released=tuple(self._released),
        )
        self._step += 1
        self._preempted, self._released = [], []
        return plan

    def accept(self, plan: Plan, sampled: Sequence[int | None]) -> list[tuple[int, ...]]:
        tokens = [() if t is None else (t,) for t in sampled]
        for request_id, accepted in zip(plan.request_ids, tokens, strict=True):
            self.requests[request_id].tokens.extend(accepted)
        return tokens

    def _give_back(self, request: Held) -> None:
        for block in request.blocks:
            self._held[block] -= 1
            if not self._held[block]:
                self._free.insert(0, block)
        request.blocks, request.stored, request.running = [], 0, False
