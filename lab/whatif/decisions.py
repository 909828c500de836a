"""The decisions of a run that concerned one request, and what could have been decided instead."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lab.counterfactual.again import Again
from lab.counterfactual.changes import known_request
from lab.counterfactual.simulate import simulate
from lab.counterfactual.steer import Steering
from records.step_columns import short
from serving.errors import ConfigError
from serving.names import known
from serving.schedule.contract import StepReceipt

TAKES = ("first", "last", "wait", "keep", "reject")
PREEMPT = "preempt:"
MOST_TRIED = 20
"""Steps that are simulated to find one with room for a request that was passed over."""


class Decided(NamedTuple):
    """A step in which somebody was admitted or preempted. at: of its schedule() call, in seconds."""

    step: int
    at: float
    admitted: tuple[str, ...]
    preempted: tuple[str, ...]
    num_waiting: int


class Decision(NamedTuple):
    """decided: what was, and instead: what is taken, as sentences of a person."""

    steering: Steering
    at: float
    decided: str
    instead: str


class History:
    """Of the baseline of a run: its decisions in order."""

    def __init__(self, again: Again) -> None:
        self._again = again
        self._steps: list[Decided] = []
        simulate(again.setup, again.chance, watch=self._note)

    def _note(self, receipt: StepReceipt) -> None:
        plan = receipt.plan
        if plan.admitted or plan.preempted:
            admitted = tuple(admission.request_id for admission in plan.admitted)
            waiting = receipt.snapshot.num_waiting
            self._steps.append(Decided(plan.step_id, receipt.schedule_at / 1e9, admitted, plan.preempted, waiting))

    def decision(self, request_id: str, take: str | None, step: int | None) -> Decision:
        """take: one of TAKES, or preempt:OTHER; None: first where it was passed over, else keep where it was preempted,
        else last where others waited behind it. step: where; None: the first step in which that is an alternative; of
        the first MOST_TRIED in which it was passed over, the first that had room for it.

        Errors: ConfigError that says where there is one, or that there is none.
        """
        known_request(self._again.setup, request_id)
        requests = self._again.baseline.requests
        place = list(requests.index).index(request_id)
        status, reason = requests["status"].iloc[place], requests["reason"].iloc[place]
        if status in ("rejected", "unsent"):
            raise ConfigError(f"request {request_id} was {status} ({reason}): no step decided about it")
        arrival = float(requests["arrival"].iloc[place])
        victim = ""
        if take is not None and take.startswith(PREEMPT):
            victim = known_request(self._again.setup, take.removeprefix(PREEMPT))
            take = "keep"
        where = self._where(request_id, arrival)
        chosen = _default(request_id, where) if take is None else take
        if chosen is None:
            raise ConfigError(
                f"request {request_id} was never passed over nor preempted, and nobody waited behind it; what can be "
                f"taken is --take wait or reject"
            )
        known("alternative", chosen, TAKES)
        if chosen == "reject":
            if step is not None:
                raise ConfigError("--step has no effect beside --take reject: a request is turned away on arrival")
            return Decision(
                Steering(request_id, "reject"), arrival, f"{request_id} arrived and was accepted", "it is turned away"
            )
        found = self._at(request_id, chosen, where[chosen], step)
        comes_in = chosen != "first" or self._comes_in(request_id, found.step)
        if not comes_in and step is None:
            others = (d for d in where["first"][1:MOST_TRIED] if self._comes_in(request_id, d.step))
            room = next(others, None)
            found, comes_in = (found, False) if room is None else (room, True)
        return Decision(
            Steering(request_id, chosen, found.step, victim),  # type: ignore[arg-type]
            found.at,
            _told(request_id, found),
            _instead(chosen, victim, comes_in),
        )

    def _comes_in(self, request_id: str, step: int) -> bool:
        """Whether there is room for it in this step if it is tried first."""
        admitted: list[str] = []

        def watch(receipt: StepReceipt) -> None:
            if receipt.plan.step_id == step:
                admitted.extend(admission.request_id for admission in receipt.plan.admitted)

        simulate(self._again.setup, self._again.chance, steering=Steering(request_id, "first", step), watch=watch)
        return request_id in admitted

    def _at(self, request_id: str, take: str, where: Sequence[Decided], step: int | None) -> Decided:
        found = next((decided for decided in where if step is None or decided.step == step), None)
        if found is None:
            steps = short([decided.step for decided in where]) if where else "none"
            place = "" if step is None else f" in step {step}"
            raise ConfigError(
                f"--take {take} is no alternative for request {request_id}{place}; steps in which it is: {steps}"
            )
        return found

    def _where(self, request_id: str, arrival: float) -> dict[str, list[Decided]]:
        """The steps in which each is an alternative to what was decided."""
        found: dict[str, list[Decided]] = {take: [] for take in TAKES}
        waits = True
        for decided in self._steps:
            if decided.at < arrival:
                continue
            if request_id in decided.preempted:
                found["keep"].append(decided)
                waits = True
            if not waits:
                continue
            if request_id in decided.admitted:
                found["wait"].append(decided)
                others = len(decided.admitted) > 1 or decided.num_waiting
                if others:
                    found["last"].append(decided)
                if decided.admitted[0] != request_id:
                    found["first"].append(decided)
                waits = False
            elif decided.admitted:
                found["first"].append(decided)
        return found


def _default(request_id: str, where: Mapping[str, Sequence[Decided]]) -> str | None:
    """None: nothing was decided against it, nor for it against others."""
    if any(request_id not in decided.admitted for decided in where["first"]):
        return "first"
    return next((take for take in ("keep", "last") if where[take]), None)


def _told(request_id: str, decided: Decided) -> str:
    parts = []
    if decided.admitted:
        parts.append(f"admitted {short(decided.admitted)}")
    if decided.preempted:
        parts.append(f"preempted {short(decided.preempted)}")
    passed = request_id not in decided.admitted and request_id not in decided.preempted
    return (
        f"step {decided.step}, at {decided.at:.6f} s, {' and '.join(parts)}; {decided.num_waiting} were left waiting"
        f"{f', {request_id} among them' if passed else ''}"
    )


def _instead(take: str, victim: str, comes_in: bool) -> str:
    room = "" if comes_in else ", and is not admitted all the same"
    return {
        "first": f"it is tried first in this step{room}",
        "last": "it is tried last in this step",
        "wait": "it is not admitted in this step",
        "keep": f"{victim or 'whom the policy would choose of the others'} is preempted in its place",
    }[take]
