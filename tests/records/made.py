"""A small run made by hand, and a scheduler that is small enough to see through."""

from collections.abc import Sequence

from records.inputs import RecordedScheduler
from records.manifest import EngineIdentity, Manifest, WorkloadIdentity
from records.run import RunData
from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Admission, Idle, Outcome, Plan, Snapshot, StepReceipt

ENGINE = EngineIdentity(preset="fake", policy="fcfs", settings={"seats": 2})
MANIFEST = Manifest(
    world="scripted",
    engine=ENGINE,
    workload=WorkloadIdentity(name="hand", sha256="0" * 64, num_requests=4),
    conditions={"steps": [1, 2.5, None]},
    unvalidated=["everything"],
)


class FakeScheduler:
    """Seats in order of arrival, whole prompts, one block a request; refuses prompts longer than 8."""

    def __init__(self, seats: int = 2) -> None:
        self._seats = seats
        self._waiting: list[Request] = []
        self._running: dict[str, list[int]] = {}  # id -> [stored, prompt_len, left]
        self._released: list[str] = []
        self._steps = 0

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def add(self, request: Request, now: int) -> None:
        if request.prompt_len > 8:
            raise RequestError(
                f"request {request.request_id}: the prompt has {request.prompt_len} tokens, the most is 8"
            )
        self._waiting.append(request)

    def abort(self, request_id: str, now: int) -> None:
        self._waiting = [r for r in self._waiting if r.request_id != request_id]
        if self._running.pop(request_id, None):
            self._released.append(request_id)

    def schedule(self, now: int) -> Plan | Idle:
        admitted = []
        while self._waiting and len(self._running) < self._seats:
            r = self._waiting.pop(0)
            admitted.append(r)
            self._running[r.request_id] = [0, r.prompt_len, r.max_tokens]
        if not self._running:
            return Idle()
        ids = tuple(self._running)
        starts = tuple(stored for stored, _, _ in self._running.values())
        num_tokens = tuple(prompt if not stored else 1 for stored, prompt, _ in self._running.values())
        self._steps += 1
        plan = Plan(
            step_id=self._steps - 1,
            request_ids=ids,
            starts=starts,
            num_tokens=num_tokens,
            samples=(True,) * len(ids),
            prompt_lens=tuple(prompt for _, prompt, _ in self._running.values()),
            admitted=tuple(Admission(r.request_id, tuple(r.prompt_token_ids), 0) for r in admitted),
            new_blocks=tuple((r.request_id, (7 * self._steps, i)) for i, r in enumerate(admitted)),
            preempted=(),
            released=tuple(self._released),
        )
        self._released.clear()
        return plan

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        finished = []
        for request_id, state in list(self._running.items()):
            state[0] += state[1] if not state[0] else 1
            state[2] -= 1
            if state[2] == 0:
                finished.append(request_id)
                self._released.append(request_id)
                del self._running[request_id]
        return Outcome(tuple(len(new) for new in tokens), tuple(finished))

    def snapshot(self) -> Snapshot:
        return Snapshot(len(self._waiting), len(self._running), 64, 9, 1, 2, 0, 52)


def request(request_id: str, arrival: int, prompt: int, max_tokens: int) -> Request:
    return Request(request_id, arrival, tuple(range(3, 3 + prompt)), max_tokens, stop_token_ids=(2,))


REQUESTS = [
    request("b", 1_000_000_000, 3, 2),
    request("a", 1_000_000_000, 4, 1),
    request("refused", 1_500_000_000, 9, 1),
    request("dropped", 1_500_000_000, 2, 5),
]


def run_by_hand() -> RunData:
    """Steps of 0.25 s from 1 s on; `dropped` is aborted before it is admitted."""
    scheduler = RecordedScheduler(FakeScheduler())
    rejected: dict[str, str] = {}
    for r in sorted(REQUESTS, key=lambda r: r.request_id):
        try:
            scheduler.add(r, r.arrival_time)
        except RequestError as error:
            rejected[r.request_id] = str(error)
    scheduler.abort("dropped", 1_500_000_000)
    receipts, now = [], 1_000_000_000
    while not isinstance(plan := scheduler.schedule(now), Idle):
        tokens = [(10 + plan.step_id,) if s else () for s in plan.samples]
        snapshot = scheduler.snapshot()
        outcome = scheduler.complete(plan.step_id, tokens, now + 250_000_000)
        receipts.append(
            StepReceipt(plan, outcome, snapshot, now, now + 1_000_000, now + 250_000_000, now + 251_000_000)
        )
        now += 300_000_000
    return RunData(requests=REQUESTS, rejected=rejected, receipts=receipts, inputs=scheduler.lines())
