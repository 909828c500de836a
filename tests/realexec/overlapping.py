"""Two steps in flight, by hand; and the runner that computes nothing, with a thread for its steps."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from serving.request import Request
from serving.schedule.contract import Idle, Plan
from serving.schedule.scheduler import Scheduler
from tests.realexec.driven import FakeRunner

if TYPE_CHECKING:
    from realexec.runner import Runner

Wait = Callable[[], list[int | None]]


class Overlapping(FakeRunner):
    """told_never: what it was told never to sample, call by call. It refuses to probe while a step is in flight."""

    def __init__(self, step_s: float = 0.001, at: int = -1, do=lambda: None) -> None:
        super().__init__(step_s, at, do)
        self.num_in_flight, self.told_never = 0, []
        self._worker = ThreadPoolExecutor(1)

    def launch(self, plan: Plan) -> Wait:
        self.num_in_flight += 1
        step = self._worker.submit(self.execute, plan)

        def wait() -> list[int | None]:
            tokens = step.result()
            self.num_in_flight -= 1
            return tokens

        return wait

    def probe(self) -> int:
        assert self.num_in_flight == 0
        return super().probe()

    def never_sample(self, token_ids: Sequence[int]) -> None:
        self.told_never.append(list(token_ids))


def serve_overlapped(
    scheduler: Scheduler,
    runners: Sequence["Runner"],
    arrivals: Sequence[Request],
    every: int,
    aborts: dict[int, str] | None = None,
) -> tuple[list[Plan], dict[str, list[int]], list[list[list[int | None]]]]:
    """All plans; the tokens that each request got; what each runner sampled, step by step. The first one's go on.

    every: turns of the loop between two arrivals. aborts: turn -> who is aborted.
    """
    waiting, plans = deque(arrivals), []
    got: dict[str, list[int]] = {r.request_id: [] for r in arrivals}
    sampled: list[list[list[int | None]]] = [[] for _ in runners]
    in_flight: deque[tuple[Plan, list[Wait]]] = deque()
    for k in range(20_000):
        if aborts and k in aborts:
            scheduler.abort(aborts[k], k)
        if waiting and k % every == 0:
            scheduler.add(waiting.popleft(), k)
        plan = scheduler.schedule(k)
        if isinstance(plan, Idle) and not in_flight:
            if not waiting and not scheduler.has_work:
                return plans, got, sampled
            continue
        if isinstance(plan, Plan):
            scheduler.check()
            plans.append(plan)
            in_flight.append((plan, [runner.launch(runner.prepare(plan)) for runner in runners]))
            if len(in_flight) < scheduler.max_in_flight:
                continue
        plan, waits = in_flight.popleft()
        for tokens, wait in zip(sampled, waits, strict=True):
            tokens.append(wait())
        answers = [() if token is None else (token,) for token in sampled[0][-1]]
        outcome = scheduler.complete(plan.step_id, answers, k)
        answers = [new[:accepted] for new, accepted in zip(answers, outcome.num_accepted, strict=True)]
        for request_id, new in zip(plan.request_ids, answers, strict=True):
            got[request_id] += new
        for runner in runners:
            runner.accept(plan, answers)
    raise AssertionError("no end in sight")
