"""A scheduler that decides nothing: it repeats the batches of a run, each as soon as its requests are there."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from records.run import RunRecord
from records.step_columns import OUTCOME, PLANNED, named_steps
from serving.errors import InvariantError, RequestError
from serving.request import Request
from serving.schedule.contract import Admission, Idle, Outcome, Plan, QuietSteps, Snapshot
from serving.state.host_tier import Copy


class RecordedSequence:
    """As SchedulerLike. Two steps are in flight only where they were in the run. KV is where it was: it has no pool."""

    def __init__(self, record: RunRecord) -> None:
        self.max_in_flight = 2 if record.manifest.engine.settings.get("async_scheduling") else 1
        columns = ["step_id", "schedule_s", "host_s", *Snapshot._fields, *PLANNED, *OUTCOME]
        self._steps: Iterator[dict[str, Any]] = named_steps(record, columns)
        self._next: dict[str, Any] | None = next(self._steps, None)
        self._snapshot = Snapshot(*[0] * len(Snapshot._fields))
        self._requests: dict[str, Request] = {}
        self._in_flight: deque[tuple[int, dict[str, Any]]] = deque()
        self._num_output: dict[str, int] = {}
        self._refused = {
            line["request"]["request_id"]: line["rejected"] for line in record.inputs() if line.get("rejected")
        }

    def add(self, request: Request, now: int) -> None:
        reason = self._refused.get(request.request_id)
        if reason is not None:
            raise RequestError(reason)
        self._requests[request.request_id] = request

    def abort(self, request_id: str, now: int) -> None:
        raise InvariantError(f"abort({request_id}): the batches of a run are repeated, and it was in them")

    def schedule(self, now: int) -> Plan | Idle:
        step = self._next
        if step is None or any(request_id not in self._requests for request_id in step["batch_request"]):
            return Idle()
        if self._in_flight and step["schedule_s"] >= self._in_flight[-1][1]["host_s"]:
            return Idle()
        self._next = next(self._steps, None)
        self._snapshot = Snapshot(*[step[column] for column in Snapshot._fields])
        plan = self._plan(step)
        self._in_flight.append((plan.step_id, step))
        return plan

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        expected, step = self._in_flight.popleft()
        if expected != step_id:
            raise InvariantError(f"complete(step {step_id}) does not answer the step in flight: {expected}")
        for request_id, accepted in zip(step["batch_request"], step["batch_accepted"], strict=True):
            self._num_output[request_id] = self._num_output.get(request_id, 0) + accepted
        for request_id in step["finished"]:
            self._requests.pop(request_id)
        return Outcome(tuple(step["batch_accepted"]), tuple(step["finished"]))

    def quiet_steps(self, most: int, unseen: bool) -> QuietSteps | None:
        return None

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        raise InvariantError(f"advance() from step {steps.step_id}: there were no quiet steps ahead")

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def num_output(self, request_id: str) -> int:
        return self._num_output.get(request_id, 0)

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    def _plan(self, step: dict[str, Any]) -> Plan:
        requests = self._requests
        copies = zip(step["copy_to_host"], step["copy_block"], step["copy_host_block"], strict=True)
        return Plan(
            step_id=step["step_id"],
            request_ids=tuple(step["batch_request"]),
            starts=tuple(step["batch_start"]),
            num_tokens=tuple(step["batch_tokens"]),
            samples=tuple(step["batch_samples"]),
            prompt_lens=tuple(requests[request_id].prompt_len for request_id in step["batch_request"]),
            admitted=tuple(
                Admission(request_id, requests[request_id].prompt_token_ids, cached)
                for request_id, cached in zip(step["admitted"], step["admitted_cached"], strict=True)
            ),
            new_blocks=(),
            preempted=tuple(step["preempted"]),
            released=tuple(step["released"]),
            copies=tuple(Copy(*copy) for copy in copies),
        )
