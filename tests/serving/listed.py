"""Counted decodes (serving/schedule/counting.py) listed again: what the plain scheduler would have said."""

from collections.abc import Iterable, Iterator
from typing import Any

from serving.request import Request
from serving.schedule.contract import Idle, Outcome, Plan, StepReceipt


class Lister:
    """Told of each plan and its outcome, in turn."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[int, int]] = {}  # request -> tokens stored, less counted steps; prompt_len
        self._steps = 0

    def plan(self, plan: Plan) -> Plan:
        assert plan.decodes is not None
        for request_id in plan.decodes.left:
            del self._members[request_id]
        for joined in plan.decodes.joined:
            self._members[joined.request_id] = (joined.start - self._steps, joined.prompt_len)
        num = plan.decodes.num_seqs
        if not num:
            return plan._replace(decodes=None)
        assert num == len(self._members)
        starts = [base + self._steps for base, _ in self._members.values()]
        assert plan.decodes.context == sum(starts) + num
        self._steps += 1
        return plan._replace(
            request_ids=(*self._members, *plan.request_ids),
            starts=(*starts, *plan.starts),
            num_tokens=(1,) * num + plan.num_tokens,
            samples=(True,) * num + plan.samples,
            prompt_lens=(*(prompt_len for _, prompt_len in self._members.values()), *plan.prompt_lens),
            decodes=None,
        )

    def outcome(self, plan: Plan, outcome: Outcome) -> Outcome:
        """plan: as it was before it was listed."""
        assert plan.decodes is not None
        for request_id in outcome.finished:
            self._members.pop(request_id, None)
        return outcome._replace(num_accepted=(1,) * plan.decodes.num_seqs + outcome.num_accepted)


def listed(receipts: Iterable[StepReceipt]) -> Iterator[StepReceipt]:
    lister = Lister()
    for receipt in receipts:
        plan = lister.plan(receipt.plan)
        yield receipt._replace(plan=plan, outcome=lister.outcome(receipt.plan, receipt.outcome))


class ListedScheduler:
    """A counting scheduler that can be driven, and looked at, like a plain one. build: gives it, from a TokensOf."""

    def __init__(self, build: Any) -> None:
        self._tokens: dict[str, list[int]] = {}
        self._stops: dict[str, tuple[int, ...]] = {}
        self._scheduler = build(lambda request_id, index, count: self._tokens[request_id][index : index + count])
        self._lister = Lister()
        self._in_flight: list[tuple[Plan, Plan]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def add(self, request: Request, now: int) -> None:
        self._scheduler.add(request, now)
        self._tokens[request.request_id], self._stops[request.request_id] = [], request.stop_token_ids

    def schedule(self, now: int) -> Plan | Idle:
        plan = self._scheduler.schedule(now)
        if isinstance(plan, Idle):
            return plan
        self._in_flight.append((plan, self._lister.plan(plan)))
        return self._in_flight[-1][1]

    def complete(self, step_id: int, tokens: Any, now: int) -> Outcome:
        counted, plan = self._in_flight.pop(0)
        for request_id, new in zip(plan.request_ids, tokens, strict=True):
            self._tokens[request_id] += new
        num = counted.decodes.num_seqs
        first = zip(plan.request_ids[:num], tokens[:num], strict=True)
        ended = [request_id for request_id, new in first if new[0] in self._stops[request_id]]
        outcome = self._scheduler.complete(step_id, tokens[num:], now, ended)
        return self._lister.outcome(counted, outcome)
