"""A runner without a model: it keeps which token every KV slot holds; each token must attend to its own past.

Whatever a scheduler decides, executing its plans must read only what was written, and for the right request.
"""

from collections import deque
from collections.abc import Callable

from serving.request import Request
from serving.schedule.contract import Idle, Plan
from serving.schedule.scheduler import Scheduler


class Memory:
    """Tokens on device and host, slot by slot; None: never written."""

    def __init__(self, num_blocks: int, block_size: int, num_host_blocks: int) -> None:
        self.block_size = block_size
        self._device: list[list[int | None]] = [[None] * block_size for _ in range(num_blocks)]
        self._host: list[list[int | None]] = [[None] * block_size for _ in range(num_host_blocks)]
        self.tokens: dict[str, list[int]] = {}
        self._tables: dict[str, list[int]] = {}

    def execute(self, plan: Plan, sample: Callable[[str, int], int]) -> list[tuple[int, ...]]:
        """As a runner would; sample(request_id, output index) is the model."""
        for request_id in (*plan.released, *plan.preempted):
            self._tables.pop(request_id, None)
            self.tokens.pop(request_id, None)
        for admission in plan.admitted:
            assert admission.request_id not in self._tables, "admitted again, but neither preempted nor released"
            self._tables[admission.request_id] = []
            self.tokens[admission.request_id] = list(admission.token_ids)
        for request_id, blocks in plan.new_blocks:
            self._tables[request_id].extend(blocks)
        for copy in plan.copies:
            if copy.to_host:
                self._host[copy.host_block_id] = list(self._device[copy.block_id])
            else:
                self._device[copy.block_id] = list(self._host[copy.host_block_id])
        batch = list(zip(plan.request_ids, plan.starts, plan.num_tokens, plan.samples, plan.prompt_lens, strict=True))
        for request_id, start, n, *_ in batch:
            for position in range(start, start + n):
                self._slot(request_id, position)[position % self.block_size] = self.tokens[request_id][position]
        answers: list[tuple[int, ...]] = []
        for request_id, start, n, samples, prompt_len in batch:
            for position in range(start + n):
                held = self._slot(request_id, position)[position % self.block_size]
                expected = self.tokens[request_id][position]
                assert held == expected, (
                    f"step {plan.step_id}: {request_id} reads {held} at position {position}, should be {expected}"
                )
            known = len(self.tokens[request_id])
            assert samples == (start + n == known), (
                f"step {plan.step_id}: {request_id} samples {samples} at {start + n}"
            )
            if samples:
                self.tokens[request_id].append(sample(request_id, known - prompt_len))
            answers.append((self.tokens[request_id][-1],) if samples else ())
        return answers

    def _slot(self, request_id: str, position: int) -> list[int | None]:
        return self._device[self._tables[request_id][position // self.block_size]]


def serve(
    scheduler: Scheduler,
    arrivals: dict[int, list[Request]],
    sample: Callable[[str, int], int],
    aborts: dict[int, list[str]] | None = None,
    longest: int = 20_000,
) -> tuple[list[Plan], dict[str, list[int]]]:
    """Run to the end, with as many steps in flight as the scheduler allows. Plans, and the accepted outputs."""
    config = scheduler.config
    memory = Memory(config.num_blocks, config.block_size, config.num_host_blocks)
    outputs: dict[str, list[int]] = {}
    in_flight: deque[Plan] = deque()
    plans: list[Plan] = []
    last = max(arrivals, default=0)
    for k in range(longest):
        for request_id in (aborts or {}).get(k, ()):
            scheduler.abort(request_id, k)
        for request in arrivals.get(k, ()):
            scheduler.add(request, k)
            outputs[request.request_id] = []
        plan = scheduler.schedule(k)
        scheduler.check()
        if isinstance(plan, Plan):
            plans.append(plan)
            in_flight.append(plan)
            if len(in_flight) < scheduler.max_in_flight:
                continue
        if in_flight:
            oldest = in_flight.popleft()
            answers = memory.execute(oldest, sample)
            outcome = scheduler.complete(oldest.step_id, answers, k)
            scheduler.check()
            for request_id, new, accepted in zip(oldest.request_ids, answers, outcome.num_accepted, strict=True):
                assert accepted in (0, len(new))
                outputs[request_id].extend(new[:accepted])
        elif isinstance(plan, Idle) and not scheduler.has_work and k > last:
            return plans, outputs
    raise AssertionError("no end in sight: somebody starves")
